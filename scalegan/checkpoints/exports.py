"""Loads trained networks from a run, a checkpoint or an export, and saves them to one file."""

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from scalegan.averages import standing_statistics
from scalegan.checkpoints import decoders, hub, kept, players, store
from scalegan.checkpoints.decoders import Decoded, latents_of
from scalegan.checkpoints.state import Header, OldHeader
from scalegan.checkpoints.stored_weights import LIVE, check_average, from_checkpoint
from scalegan.config.game import REAL
from scalegan.config.loading import with_current_defaults
from scalegan.data.spec import Spec
from scalegan.errors import UsageError, UserError
from scalegan.games.base import DECODER, Export, Game
from scalegan.games.lookup import game_of
from scalegan.games.sampling import one_batch_at_a_time
from scalegan.models.autoencoder_kl import Decoder
from scalegan.randomness import Draws
from scalegan.support import devices
from scalegan.support.files import replacing
from scalegan.support.names import did_you_mean
from scalegan.support.reading import DamagedFile, checked, parse_json

_KEY = "scalegan"


def load(path: str | Path, network: str | None = None, ema: str | None = None,
         sigma_rel: float | None = None, psi: float = 1.0, standing_batches: int | None = None) -> nn.Module:
    """Loads a network from a run folder, a checkpoint or an export, also hf://USER/NAME, in eval mode.

    Its attribute `about` holds the recipe's `model`, the `spec` of its samples, its inputs and outputs (`export`), and
    the `images` it was trained on.

    Args:
        network: one of the game's exports, by name; by default the game's usual one, such as the generator.
        ema: one of the recipe's `emas` instead of the main average.
        sigma_rel: the power-function average of that length instead, reconstructed from the run's snapshots.
        psi: the truncation of the samples, at which BatchNorm gets its standing statistics.
        standing_batches: how many batches of 64 those take; 0 keeps the running statistics. By default 16 for a run or
            checkpoint; an export keeps its own unless it is truncated.

    Raises:
        UserError: if `path` has no such network or average, or is damaged.
    """
    return load_all(path, ema, sigma_rel, network or "", psi, standing_batches)[network or ""]


def load_generator(path: str | Path, network: str | None = None, ema: str | None = None, psi: float = 1.0,
                   standing_batches: int | None = None) -> nn.Module:
    """Loads a network that makes samples from z.

    Raises:
        UserError: as `load`, and for a network with another input.
    """
    loaded = load(path, network, ema, None, psi, standing_batches)
    inputs = loaded.about["export"]["inputs"]
    if inputs[0] != "z":
        raise UsageError(f"network '{loaded.about['network']}' of {path} takes {', '.join(inputs)}, not seeds; "
                         f"{_instead_of_seeds(loaded)}")
    return loaded


def _instead_of_seeds(network: nn.Module) -> str:
    """What to do with a network that takes no seeds, or in its place."""
    if hasattr(network, "scale"):
        return "`scalegan apply` gives it photos"
    others = [name for name, export in network.about["networks"].items() if export["inputs"][0] == "z"]
    if others:
        return f"name {' or '.join(others)} with --network"
    left_out = [name for name, export in game_of(network.about["recipe"]["game"]["name"]).exports.items()
                if export.inputs[0] == "z"]
    return f"`scalegan export RUN --network {left_out[0]}` of its run makes a file with what does" if left_out \
        else "in Python, `scalegan.load` gives it"


@kept.through
def load_all(path: str | Path, ema: str | None = None, sigma_rel: float | None = None, only: str | None = None,
             psi: float = 1.0, standing_batches: int | None = None) -> dict[str, nn.Module]:
    """Loads every network of a run folder, a checkpoint or an export, by name; the default one first.

    Args:
        only: load only this one; empty for the default one, which is then returned under the empty name.
        psi, standing_batches: see `load`.

    Raises:
        UserError: as `load`.
    """
    path = Path(hub.located(path))
    if path.is_file():
        if ema is not None or sigma_rel is not None:
            raise UsageError(f"{path} is an export, which holds one average; use its run folder instead")
        about, weights = read_export(path)
    else:
        path = newest(path)
        metadata = store.metadata_of(path)
        about, weights = about_run(path, metadata), {}
    names = list(about["networks"])
    if only and only not in names:
        raise UsageError(f"{path} has no network '{only}'{did_you_mean(only, names)}; it has {', '.join(names)}")
    chosen = names if only is None else [only or about["default"]]
    recipe = players.recipe_of(path, about)
    if not path.is_file():
        check_average(path, about, recipe, chosen, ema, sigma_rel)
    game, exports = game_of(recipe.game.name), {name: _export(tree) for name, tree in about["networks"].items()}
    batches = _standing_batches(about, path.is_file(), standing_batches, psi)
    owner = standing_statistics.owners(exports) if batches else {}
    owning = {owner[player] for name in chosen for player in exports[name].players if player in owner}
    parts = {name: _parts(about, export) for name, export in exports.items() if name in owning or name in chosen}
    of_all = list(dict.fromkeys(chain(*parts.values())))
    shapes = players.shapes(path, game, recipe, about, of_all)
    if not path.is_file():
        for part, module in shapes.items():
            weights |= from_checkpoint(path, metadata, about, part, module, ema, sigma_rel)
        if sigma_rel is not None:
            about["sigma_rel"] = sigma_rel
    modules = players.filled(path, game, recipe, about, shapes, weights)
    if batches:
        averaged = {part: module.eval() for part, module in modules.items() if not part.endswith(LIVE)}
        about["standing_statistics"] = batches * _renew(game, exports, averaged, about, batches, psi)
    decoder = None
    if latents_of(about) is not None:
        decoder = decoders.of_export(path, weights, about) if path.is_file() else \
            decoders.of_run(path.absolute().parent.parent, about)
        about["decoder_groups"] = decoder.sizes.groups
    loaded = {}
    for name in chosen:
        own = [modules[part] for part in parts[name]]
        network = attach(game.compose(exports[name], own), dict(zip(parts[name], own)), about, name, decoder)
        loaded[name if only is None else only] = network.eval().requires_grad_(False)
    return loaded


def load_player(path: str | Path, name: str) -> nn.Module:
    """Loads a player of a run or checkpoint with its current weights, in eval mode, such as D, which is not exported.

    Raises:
        UserError: as `load`, and for an export, or if the game has no such player.
    """
    path = Path(hub.located(path))
    if path.is_file():
        raise UsageError(f"{path} is an export, which does not hold {name}; give its run or a checkpoint")
    path = newest(path)
    metadata = store.metadata_of(path)
    about, part = about_run(path, metadata), f"{name}{LIVE}"
    recipe = players.recipe_of(path, about)
    game = game_of(recipe.game.name)
    if name not in about["prefixes"]:
        raise UsageError(f"{path} has no player '{name}': those of game.name={recipe.game.name} are "
                         f"{', '.join(about['prefixes'])}; give a run of a game with {name}")
    shapes = players.shapes(path, game, recipe, about, [part])
    weights = from_checkpoint(path, metadata, about, part, shapes[part], None, None)
    module = players.filled(path, game, recipe, about, shapes, weights)[part]
    about["networks"] = {**about["networks"], name: asdict(Export((name,), ("image",), "logits", averaged=False))}
    return attach(module, {name: module}, about, name).eval().requires_grad_(False)


def _standing_batches(about: Mapping[str, Any], is_export: bool, asked: int | None, psi: float) -> int:
    """How many batches to take standing statistics over; 0 to keep the statistics that are stored. Those of an export
    hold for psi = 1; those of a converted file are its authors'."""
    if asked is not None or not is_export:
        return standing_statistics.BATCHES if asked is None else asked
    return 0 if psi == 1 else about.get("standing_statistics", 0)


def _renew(game: type[Game], exports: Mapping[str, Export], players: Mapping[str, nn.Module], about: Mapping[str, Any],
           batches: int, psi: float) -> bool:
    """Gives averaged players standing statistics, on a GPU if there is one; returns whether they now have their own."""
    spec = Spec.of(about["specs"][about["target"] or next(iter(about["specs"]))])
    device = devices.available()
    try:
        for player in players.values():
            player.to(device)
        return standing_statistics.renew(exports, players, game.compose, spec, about.get("labels"), batches, psi,
                                         show=sys.stderr.isatty())
    except ValueError as error:     # the model has no truncation
        raise UsageError(str(error)) from error
    finally:
        for player in players.values():
            player.to("cpu")


def save(networks: Mapping[str, nn.Module] | nn.Module, path: Path, live: Mapping[str, nn.Module] = {}) -> None:
    """Writes loaded networks to one safetensors file, described in its header. Players shared by several networks are
    written once; those of `live` have live weights, which no network needs, for runs that begin with the file."""
    if isinstance(networks, nn.Module):
        networks = {networks.about["network"]: networks}
    first = next(iter(networks.values())).about
    weights = {f"{part}/{name}": tensor.contiguous() for network in networks.values()
               for part, module in network.parts.items() for name, tensor in module.state_dict().items()}
    weights |= {f"{player}{LIVE}/{name}": tensor.contiguous() for player, module in live.items()
                for name, tensor in module.state_dict().items()}
    kept = ("format", "decoder_groups", "recipe", "specs", "target", "averaged", "images", "seed", "sigma_rel",
            "labels", "standing_statistics")
    header = {key: first[key] for key in kept if key in first}
    header |= {"default": first["default"] if first["default"] in networks else next(iter(networks)),
               "networks": {name: network.about["export"] for name, network in networks.items()}}
    with replacing(path) as unfinished:
        save_file(weights, unfinished, metadata={_KEY: json.dumps(header)})


def newest(path: Path) -> Path:
    """The newest undamaged checkpoint of a run folder, or `path` itself if it is a checkpoint.

    Raises:
        UserError: if there is none, or the checkpoint that `path` names is damaged.
    """
    if (path / "COMPLETE").exists():
        damage = store.verify(path)
        if damage:
            raise UserError(f"{path} is damaged: {damage}; name another checkpoint, or the run")
        return path
    whole = store.complete(path / "checkpoints")
    if not whole:
        raise UserError(f"{path} is neither a run folder with a complete checkpoint, nor a checkpoint, nor an exported "
                        ".safetensors file" if path.exists() else f"{path} does not exist")
    for candidate in reversed(whole):
        damage = store.verify(candidate)
        if damage is None:
            return candidate
        print(f"scalegan: warning: skipping the damaged checkpoint {candidate}: {damage}", file=sys.stderr)
    raise UserError(f"every checkpoint in {path} is damaged")


def described(recipe: Mapping[str, Any], specs: Mapping[str, Spec], game: type[Game] | Game, **further: Any,
              ) -> dict[str, Any]:
    """Describes all networks of a game; a class will do if its exports do not depend on the recipe."""
    made = isinstance(game, Game)
    places = {id(module): name for name, module in game.named_modules()} if made else {}
    return {"format": store.FORMAT, "recipe": dict(recipe), "specs": {name: asdict(s) for name, s in specs.items()},
            "default": game.default, "target": game.target,
            "networks": {name: asdict(export) for name, export in game.exports.items()},
            "averaged": list(game.averaged) if made else ["G"],
            "prefixes": {name: places[id(player)] for name, player in game.players.items()} if made else {}, **further}


def attach(network: nn.Module, parts: Mapping[str, nn.Module], about: Mapping[str, Any], name: str,
           decoder: Decoder | None = None) -> nn.Module:
    """Sets the network's `about`, and its `parts`: the players it is made of, by the names that files use. A generator
    without condition has samples without labels, even if its game's data has labels. One of latents becomes one of
    images with their `decoder`, which is then a part, too."""
    specs = {stream: dict(spec) for stream, spec in about["specs"].items()}
    export = about["networks"][name]
    spec = specs[about["target"] or next(iter(specs))]
    if decoder is not None and export["output"] == "image":
        network, parts = Decoded(network, decoder), {**parts, DECODER: decoder}
        spec = asdict(Spec.of(spec).decoded)
    network.parts = dict(parts)
    if "z" in export["inputs"] and "condition" not in export["inputs"]:
        spec |= {"classes": 0, "attributes": 0, "vector_dim": 0, "label_names": ()}
    network.about = {**about, "network": name, "export": export, "model": about["recipe"]["model"], "spec": spec}
    return network


def _export(tree: Mapping[str, Any]) -> Export:
    return Export(**{key: tuple(value) if isinstance(value, list) else value for key, value in tree.items()})


def about_run(path: Path, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Describes a checkpoint's networks."""
    recipe = with_current_defaults(metadata["recipe"])
    shared = {"images": metadata["images"], "seed": recipe.get("seed", 0)}
    if metadata.get("networks"):
        return {**metadata["networks"], "recipe": recipe, **shared}
    if not metadata.get("task") or "game" not in recipe:
        raise UserError(f"{path / 'state.json'} does not describe the run's networks")
    return described(recipe, {REAL: Spec.of(metadata["task"])}, game_of(recipe["game"]["name"]), **shared,
                     prefixes={"G": "G", "D": "D"})     # format 1 had one game


def _parts(about: Mapping[str, Any], export: Export) -> list[str]:
    """The players of a network, by the names that files use; `.live` marks live weights of one that others average."""
    return [player if export.averaged or player not in about["averaged"] else f"{player}{LIVE}"
            for player in export.players]


def read_export(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(path, "pt") as file:
            about = parse_json((file.metadata() or {})[_KEY], f"its header {_KEY}")
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 -- not a dict
        store.check_format(path, about.get("format", 1))
        if "networks" in about:
            checked(about, "its header", Header)
            for tree in about["networks"].values():
                _export(tree)
            for tree in about["specs"].values():
                Spec.of(tree)
            return about, weights
        checked(about, "its header", OldHeader)
        recipe = {**MINIMAL_RECIPE, "model": about["model"], "seed": about.get("seed", 0)}  # format 1: one generator
        described_as = described(with_current_defaults(recipe), {REAL: Spec.of(about["task"])}, game_of("gan"),
                                 images=about["images"], seed=about.get("seed", 0))
        return described_as, {f"G/{name}": tensor for name, tensor in weights.items()}
    except (SafetensorError, DamagedFile, KeyError, ValueError, TypeError, AttributeError, OSError) as error:
        raise UserError(f"{path} is not a generator that `scalegan export` wrote ({players.last_line(error)}); for "
                        "other implementations' checkpoints there is `scalegan convert`") from error


# What a recipe needs besides a model, for networks that come without one.
MINIMAL_RECIPE = {"run_dir": "-", "total_images": 1, "data": {"path": "-"}}
_GAN = {"name": "gan"}


def of_model(generator: nn.Module, model: Mapping[str, Any], specs: Spec | Mapping[str, Spec], images: int,
             game: Mapping[str, Any] = _GAN, inputs: tuple[str, ...] = Export.inputs) -> nn.Module:
    """Describes a generator that comes without a recipe, so that it can be saved.

    Args:
        model: its `model` keys.
        specs: of the samples; or by stream, if the game has several.
        game: keys of a game whose generator it could be.
        inputs: see `Export`.
    """
    specs = {REAL: specs} if isinstance(specs, Spec) else specs
    recipe = with_current_defaults({**MINIMAL_RECIPE, "model": dict(model), "game": dict(game)})
    about = described(recipe, specs, game_of(game["name"]), images=images, seed=0)
    about["networks"] = {"G": asdict(Export(("G",), inputs))}
    return attach(generator, {"G": generator}, about, "G")


@torch.no_grad()
def sample(generator: nn.Module, seeds: list[int], labels: Tensor | None, psi: float, batch: int = 32,
           noise: str = "const") -> Tensor:
    """Images [N, C, H, W], one per seed, on the generator's device. A seed gives the same image in any batch.

    Args:
        noise: of a style-based generator: "const", its constant one, or "random", that of the seed.
    """
    device = next(generator.parameters()).device
    draws = Draws(0, 0, "sample", torch.tensor(seeds, device=device))
    return one_batch_at_a_time(generator, draws, None if labels is None else labels.to(device), psi, batch, noise)
