"""Builds the parts of a run from a recipe."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from scalegan import config
from scalegan.config.game import streams_of, volumes_of, with_latents
from scalegan.data.manifest import Manifest
from scalegan.data.opening import data_folder, decoder_of, settings_of
from scalegan.data.paths import expanded
from scalegan.data.preparing.embedded import is_embedded, make_embedded
from scalegan.data.reading.cache import is_url
from scalegan.data.reading.pairing import match_records
from scalegan.data.spec import PairedWith, Spec
from scalegan.engines.ranks import Ranks
from scalegan.errors import RecipeError
from scalegan.games.base import DECODER, Game, Phase
from scalegan.games.compiled import Compiled
from scalegan.games.lookup import game_of
from scalegan.models.layers.recompute import recompute_blocks
from scalegan.randomness import parameter_generators
from scalegan.training.freezing import freeze


def game(recipe: config.Recipe, specs: Mapping[str, Spec]) -> Game:
    """The recipe's game, with initial weights keyed by (seed, player, parameter name)."""
    _check_kinds(recipe, specs)
    played = game_of(recipe.game.name).make(recipe, specs)
    _check_phases(played.phases)
    initialise(played, recipe.seed)
    if recipe.freeze:
        freeze(played, recipe.freeze)
    if recipe.engine.activation_checkpointing:
        for player in played.players.values():
            recompute_blocks(player)
    played.compiled = {name: Compiled(player) if recipe.engine.compile else player
                       for name, player in played.players.items()}
    for network in played.fixed.values():
        network.eval().requires_grad_(False)
    return played


def add_decoder(played: Game, recipe: config.Recipe, specs: Mapping[str, Spec], device: torch.device) -> None:
    """Gives a game whose samples are latents their decoder, as a fixed network.

    Raises:
        UserError: if it is missing, damaged, or another set's.
    """
    first, spec = next(iter(specs.items()))
    if spec.latents is not None:
        played.fixed = {**played.fixed, DECODER: decoder_of(settings_of(recipe, first), spec.latents).to(device)}


def _check_kinds(recipe: config.Recipe, specs: Mapping[str, Spec]) -> None:
    """Raises RecipeError for volumes where the game expects images, or the other way round."""
    name = recipe.game.name
    for stream, spec in specs.items():
        key = "data" if stream == next(iter(specs)) else f"streams.{stream}"
        if stream not in volumes_of(recipe) and spec.kind == "volume":
            raise RecipeError(f"{key}.path={settings_of(recipe, stream).path} holds volumes, and game.name={name} has "
                              f"no use for them there; set game.name=gan3d, or name a set of images by {key}.path")
        if spec.kind == "latent" and not with_latents(recipe):
            raise RecipeError(f"{key}.path={settings_of(recipe, stream).path} holds latents, and game.name={name} "
                              f"makes images; set game.name=gan, or name a set of images by {key}.path")
        if stream in volumes_of(recipe) and spec.kind != "volume":
            raise RecipeError(f"{key}.path={settings_of(recipe, stream).path} holds {spec.kind}s, and game.name={name} "
                              "needs volumes; make some of shapes with `scalegan prepare --kind volumes`, or set "
                              f"{key}.path=embedded:glyphs")


def _check_phases(phases: Sequence[Phase]) -> None:
    """Raises ValueError if a phase cannot step together with the one that its `step_with` names."""
    names = [phase.name for phase in phases]
    for number, phase in enumerate(phases):
        if not phase.step_with:
            continue
        if phase.step_with not in names[number + 1:]:
            raise ValueError(f"phase {phase.name} steps with {phase.step_with}, which is not a later phase")
        last = names.index(phase.step_with)
        between = {player for other in phases[number + 1 : last + 1] for player in other.players}
        if between & set(phase.players) or phase.updates > 1 or phases[last].step_with:
            raise ValueError(f"phase {phase.name} steps with {phase.step_with}: its players must not move in a phase "
                             f"in between, its `updates` must be 1, and {phase.step_with} must not have `step_with`")


def on_device(played: Game, device: torch.device) -> Game:
    """Moves the game to a device, with 4-D tensors such as convolution weights in channels_last."""
    return played._apply(lambda tensor: tensor.to(device, memory_format=torch.channels_last) if tensor.dim() == 4
                         else tensor.to(device))


def initialise(played: Game, seed: int) -> None:
    """Fills every player's weights from generators keyed by (seed, player, parameter name)."""
    for name, player in played.players.items():
        player.initialise(parameter_generators(seed, name))


def evaluation_path(recipe: config.Recipe, stream: str = "") -> str:
    """Path of a stream's held-out images, or of its own images if it has none."""
    first = next(iter(streams_of(recipe)))
    held_out = recipe.eval.data if stream in ("", first) else recipe.eval.streams.get(stream)
    return held_out.path if held_out and held_out.path else settings_of(recipe, stream or first).path


def make_evaluation_sets(recipe: config.Recipe, ranks: Ranks) -> None:
    """Makes the embedded datasets that a recipe's evaluations use, unless they exist already."""
    for stream in streams_of(recipe):
        path, data = evaluation_path(recipe, stream), settings_of(recipe, stream)
        if is_embedded(path):
            ranks.run_collectively(lambda path=path, data=data: make_embedded(replace(data, path=path), ranks))


def evaluation_images(recipe: config.Recipe, stream: str = ""):
    """The images that a run's samples are compared with: eval.data if given, else the run's own data as it sees it.

    Raises:
        UserError: if the data is 2-D points, or the shards do not exist.
    """
    from scalegan.metrics.images import DecodedImages, RunImages, StoredImages

    first = next(iter(streams_of(recipe)))
    data, path = settings_of(recipe, stream or first), evaluation_path(recipe, stream)
    key = "data" if stream in ("", first) else f"streams.{stream}"
    key = key if path == data.path else f"eval.{key}"
    if data.backend == "points":
        raise RecipeError("data.backend=points makes 2-D points, which have no features to evaluate; remove eval")
    remote = is_url(expanded(path, f"{key}.path"))
    folder = Path() if remote else data_folder(path, data.resolution, f"{key}.path")
    if data.latents and (path == data.path or _holds_latents(folder)):
        return DecodedImages(expanded(path), partial(decoder_of, data))
    if remote:
        return StoredImages(expanded(path))
    if not folder.exists():
        raise RecipeError(f"{key}.path={path} does not exist")
    return RunImages(folder, data.resolution) if data.backend == "folder" else StoredImages(folder)


def _holds_latents(folder: Path) -> bool:
    return (folder / "manifest.json").is_file() and Manifest.load(folder).image.kind == "latent"


def evaluator(recipe: config.Recipe, played: Game, specs: Mapping[str, Spec], ranks: Ranks):
    """Evaluates the averaged networks every `eval.every_images`; metrics are imported only by runs that use them."""
    from scalegan.metrics.in_training import InTraining

    export = played.exports[played.default]
    about = {"model": {"name": recipe.model.name}, "spec": vars(specs[played.target or next(iter(specs))].decoded),
             "specs": {name: vars(spec) for name, spec in specs.items()}, "target": played.target,
             "network": played.default, "export": vars(export)}
    inputs = {} if export.inputs[0] == "z" else inputs_of(recipe)
    return InTraining(recipe.eval, played, about, evaluation_images(recipe, played.target), ranks, Path(recipe.run_dir),
                      inputs)


def inputs_of(recipe: config.Recipe):
    """Images of every stream, for games that make samples from images; paired streams in matching order."""
    from scalegan.metrics.images import Reordered

    found, readers, numbers = {}, {}, {}
    for name, link in streams_of(recipe).items():
        found[name] = images = evaluation_images(recipe, name)
        readers[name] = images.reader
        if isinstance(link, PairedWith):
            first = link.stream
            numbers[name] = match_records(readers[first], images.reader, (first, name))[numbers[first]]
            found[name] = Reordered(images, numbers[name])
        else:
            numbers[name] = np.arange(len(images))
    return found
