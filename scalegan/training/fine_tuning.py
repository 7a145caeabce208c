"""Begins a run with the weights of other networks (`init_from`)."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from scalegan.averages.averages import Averages
from scalegan.data.paths import expanded
from scalegan.data.spec import Spec
from scalegan.errors import RecipeError, UserError
from scalegan.training import pretrained
from scalegan.training.freezing import prefixes
from scalegan.training.pretrained import Pretrained, State
from scalegan.training.run import Run

_LISTED = 6     # fresh layers of a player, in the line about it


def identify(run: Run, config: dict[str, Any], before: Mapping[str, Any], another: bool) -> None:
    """Puts the digest of the weights that a resumed run began with in its recipe, without reading them again.

    Args:
        before: the recipe of the checkpoint it resumes from.
        another: whether that may be another run's, named by `resume`.

    Raises:
        RecipeError: if the recipe now names other weights.
    """
    then, now, digest = before.get("init_from"), run.recipe.init_from, before.get("init_content")
    if now != then and not another and (now is None or _read(run).digest != digest):
        began = f"began with the weights of {then}" if then else "began with random weights"
        raise RecipeError(f"init_from={'null' if now is None else now}: {run.folder} holds a run that {began}, "
                          f"a different one; set init_from={then or 'null'}, or choose another run_dir")
    if digest is not None:
        config["init_content"] = digest


def begin(run: Run, config: dict[str, Any]) -> list[str]:
    """Gives a new run's players and averages the weights that `init_from` names, as far as they fit, and notes their
    digest in its recipe. Returns lines for the user.

    Raises:
        UserError: on all ranks, if nothing can be read or fits.
    """
    source, about = _read(run), run.constants["networks"]
    spec = Spec.of(about["specs"][about["target"] or next(iter(about["specs"]))])
    said = transfer(source, run.game.players, run.averages, spec.num_classes)
    if not said:
        raise UserError(f"init_from={run.recipe.init_from}: none of its layers fits the players "
                        f"{', '.join(run.game.players)}; give the recipe the model keys that it was trained with")
    run.engine.restore(run.engine.state())      # of engines that keep weights of their own
    config["init_content"] = source.digest
    trained = f" after {source.images:,} images" if source.images else ""
    return [f"begins with the weights of {run.recipe.init_from}{trained}", *said]


def transfer(source: Pretrained, players: Mapping[str, nn.Module], averages: Averages, labels: int) -> list[str]:
    """Copies the layers that fit into players and their averages. Where the source has only one of the two, it serves
    for both. Layers that do not fit, and players that it lacks, stay as they are.

    Args:
        labels: number of classes or attributes of the players; of these, the first that both have are kept.

    Returns:
        A line about each player; none if nothing fits.
    """
    said, any_kept = [], False
    for player, network in players.items():
        live, average = source.live.get(player), source.averages.get(player)
        if live is None and average is None:
            said.append(f"  {player}: fresh, as the source has none")
            continue
        kept, line = _fill(network, average if live is None else live, (labels, source.labels))
        for group in averages.groups.values():
            if player in group:
                _fill(group[player].average, live if average is None else average, (labels, source.labels))
        any_kept |= kept > 0
        said.append(f"  {player}{' (from its average)' if live is None else ''}: {line}")
    return said if any_kept else []


def _read(run: Run) -> Pretrained:
    recipe = run.recipe
    path = Path(expanded(recipe.init_from, "init_from"))

    def read() -> Pretrained:
        try:
            return pretrained.read(path, recipe.model.name)
        except UserError as error:
            raise UserError(f"init_from: {error}") from error
    return run.ranks.run_collectively(read)


@torch.no_grad()
def _fill(network: nn.Module, theirs: State, labels: tuple[int, int]) -> tuple[int, str]:
    """Copies the layers that fit; returns how many did, and a line about those that did not.

    Args:
        labels: number of classes or attributes of the network, and of their network.
    """
    layers: dict[str, dict[str, Tensor]] = {}
    for name, own in network.state_dict().items():
        layers.setdefault(_layer(name), {})[name] = own
    fresh, extended = {}, []
    for layer, tensors in layers.items():
        misfit = next((name for name, own in tensors.items() if _rows(own, theirs.get(name), labels) is None), None)
        if misfit is not None:
            fresh[layer] = f" {_shape(theirs[misfit])} -> {_shape(tensors[misfit])}" if misfit in theirs else ""
            continue
        for name, own in tensors.items():
            part = _rows(own, theirs[name], labels)
            if own[part].shape != own.shape or theirs[name].shape != own.shape:
                extended.append(layer)
            own[part].copy_(theirs[name][part])
    count = f"{len(layers) - len(fresh)} of {len(layers)} layers"
    if extended:
        count += f", of labels the first {min(labels)} of {labels[0]}"
    return len(layers) - len(fresh), f"{count}; fresh: {_listed(fresh, layers)}" if fresh else count


def _layer(name: str) -> str:
    """The layer that a tensor belongs to; the weights below `normed` are those of the layer they normalise."""
    return name.rpartition(".")[0].removesuffix(".normed") or name


def _rows(own: Tensor, theirs: Tensor | None, labels: tuple[int, int]) -> tuple[slice, ...] | None:
    """The part of both tensors to copy: all, or that of the labels they share; None if they do not fit."""
    if theirs is None or own.dim() != theirs.dim():
        return None
    part = tuple(slice(min(a, b)) for a, b in zip(own.shape, theirs.shape))
    differing = [(a, b) for a, b in zip(own.shape, theirs.shape) if a != b]
    return part if not differing or (differing == [labels] and min(labels)) else None


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "1"


def _listed(fresh: Mapping[str, str], layers: Iterable[str]) -> str:
    """The fresh layers; a module of which all layers are fresh as one."""
    found: dict[str, str] = {}
    for layer, shapes in fresh.items():
        whole = next((prefix for prefix in prefixes(layer) if _all_within(prefix, layers, fresh.__contains__)), layer)
        found[whole] = shapes if whole == layer else ""
    names = [f"{name}{shapes}" for name, shapes in found.items()]
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _all_within(prefix: str, layers: Iterable[str], holds: Callable[[str], bool]) -> bool:
    return all(holds(layer) for layer in layers if f"{layer}.".startswith(f"{prefix}."))
