"""Begins a run with the weights of other networks (`init_from`)."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from scalegan.averages.averages import Averages
from scalegan.data.paths import expanded
from scalegan.data.spec import Spec
from scalegan.errors import RecipeError, UserError
from scalegan.training import label_rows, pretrained
from scalegan.training.freezing import prefixes
from scalegan.training.label_rows import LabelRows
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
    specs = {stream: Spec.of(tree) for stream, tree in about["specs"].items()}
    spec = specs[about["target"] or next(iter(specs))]
    rows = None if run.recipe.init_classes is None else \
        label_rows.of_recipe(run.recipe, specs, spec, source.label_names, source.labels)
    with run.engine.whole(run.game.players, averages=True, keep=True):
        said = transfer(source, run.game.players, run.averages, spec.num_classes, rows)
    if not said:
        raise UserError(f"init_from={run.recipe.init_from}: none of its layers fits the players "
                        f"{', '.join(run.game.players)}; give the recipe the model keys that it was trained with")
    run.engine.restore(run.engine.state())      # of engines that keep weights of their own
    config["init_content"] = source.digest
    trained = f" after {source.images:,} images" if source.images else ""
    return [f"begins with the weights of {run.recipe.init_from}{trained}", *said]


def transfer(source: Pretrained, players: Mapping[str, nn.Module], averages: Averages, labels: int,
             rows: LabelRows | None = None) -> list[str]:
    """Copies the layers that fit into players and their averages. Where the source has only one of the two, it serves
    for both. Layers that do not fit, and players that it lacks, stay as they are.

    Args:
        labels: number of classes or attributes of the players.
        rows: which of the source's labels these begin with; by default the first that both have, in order.

    Returns:
        A line about each player; none if nothing fits.
    """
    said, any_kept, numbers = [], False, (labels, source.labels)
    for player, network in players.items():
        live, average = source.live.get(player), source.averages.get(player)
        if live is None and average is None:
            said.append(f"  {player}: fresh, as the source has none")
            continue
        kept, line = _fill(network, average if live is None else live, numbers, rows, player)
        for group in averages.groups.values():
            if player in group:
                _fill(group[player].average, live if average is None else average, numbers, rows, player)
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
def _fill(network: nn.Module, theirs: State, labels: tuple[int, int], rows: LabelRows | None, player: str,
          ) -> tuple[int, str]:
    """Copies the layers that fit; returns how many did, and a line about those that did not.

    Args:
        labels: number of classes or attributes of the network, and of their network.
    """
    layers: dict[str, dict[str, Tensor]] = {}
    for name, own in _state_of(network):
        layers.setdefault(_layer(name), {})[name] = own
    fresh, by_label = {}, False
    axes = {} if rows is None else rows.axes[player]
    for layer, tensors in layers.items():
        parts = {name: _parts(own, theirs.get(name), labels, rows, axes.get(name))
                 for name, own in tensors.items()}
        misfit = next((name for name, part in parts.items() if part is None), None)
        if misfit is not None:
            fresh[layer] = f" {_shape(theirs[misfit])} -> {_shape(tensors[misfit])}" if misfit in theirs else ""
            continue
        for name, own in tensors.items():
            mine, other = parts[name]
            by_label |= bool(mine)
            own[mine] = theirs[name][other].to(own)
    count = f"{len(layers) - len(fresh)} of {len(layers)} layers"
    if by_label:
        count += f", of labels {'the first ' if rows is None else ''}{len(rows.own) if rows else min(labels)} of " \
                 f"{labels[0]}"
    return len(layers) - len(fresh), f"{count}; fresh: {_listed(fresh, layers)}" if fresh else count


def _state_of(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """What is in its state dict, which sharded networks would give in parts."""
    for prefix, module in network.named_modules():
        for name, tensor in itertools.chain(module.named_parameters(prefix, recurse=False),
                                            module.named_buffers(prefix, recurse=False)):
            yield name, tensor.detach()


def _layer(name: str) -> str:
    """The layer that a tensor belongs to; the weights below `normed` are those of the layer they normalise."""
    return name.rpartition(".")[0].removesuffix(".normed") or name


def _parts(own: Tensor, theirs: Tensor | None, labels: tuple[int, int], rows: LabelRows | None, axis: int | None,
           ) -> tuple[tuple, tuple] | None:
    """The parts of both tensors between which to copy; empty for all. None if they do not fit.

    Args:
        axis: along which the tensor has the rows that `rows` chooses from; None if it has none.
    """
    if theirs is None or own.dim() != theirs.dim():
        return None
    differing = [i for i, (a, b) in enumerate(zip(own.shape, theirs.shape)) if a != b]
    if axis is not None:
        fit = set(differing) <= {axis} and (own.shape[axis], theirs.shape[axis]) == labels
        before = (slice(None),) * axis
        return ((*before, list(rows.own)), (*before, list(rows.theirs))) if fit else None
    if not differing:
        return (), ()
    if rows is None and len(differing) == 1 and min(labels) and \
            (own.shape[differing[0]], theirs.shape[differing[0]]) == labels:
        first = (slice(None),) * differing[0] + (slice(min(labels)),)
        return first, first
    return None


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
