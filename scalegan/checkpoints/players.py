"""Builds players as a file describes them, and fills them with its weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from scalegan.checkpoints.stored_weights import LIVE
from scalegan.config import Recipe
from scalegan.config.explanation import explain
from scalegan.config.loading import plain
from scalegan.data.spec import Spec
from scalegan.errors import UserError
from scalegan.games.base import Game

_RECIPE = TypeAdapter(Recipe)


def recipe_of(path: Path, about: Mapping[str, Any]) -> Recipe:
    """The recipe of a file's description. Raises UserError if this version cannot read it."""
    try:
        return _RECIPE.validate_python(plain(about["recipe"]))
    except ValidationError as error:
        raise UserError(f"{path} has a recipe that this version of ScaleGAN cannot read: "
                        f"{explain(error, about['recipe'])}") from error


def shapes(path: Path, game: type[Game], recipe: Recipe, about: Mapping[str, Any], parts: list[str],
           ) -> dict[str, nn.Module]:
    """The players' networks without memory: what a damaged file describes may be larger than any."""
    try:
        with torch.device("meta"):
            return {part: _player(path, game, recipe, about, part) for part in parts}
    except UserError:       # some game may need values to build its players
        return {part: _player(path, game, recipe, about, part) for part in parts}


def filled(path: Path, game: type[Game], recipe: Recipe, about: Mapping[str, Any], shapes: Mapping[str, nn.Module],
           weights: Mapping[str, Tensor]) -> dict[str, nn.Module]:
    """The players with their weights, once these are known to fit their `shapes`."""
    for part, module in shapes.items():
        _fill(path, module, part, weights, assign=True)
    modules = {part: _player(path, game, recipe, about, part) for part in shapes}
    for part, module in modules.items():
        _fill(path, module, part, weights)
    return modules


def _player(path: Path, game: type[Game], recipe: Recipe, about: Mapping[str, Any], part: str) -> nn.Module:
    """A player's network, as its description says. Raises UserError if that describes none."""
    try:
        specs = {stream: Spec.of(spec) for stream, spec in about["specs"].items()}
        return game.player(recipe, specs, part.removesuffix(LIVE))
    except (KeyError, ValueError, TypeError, IndexError, RuntimeError, StopIteration, ZeroDivisionError) as error:
        raise UserError(f"{path} describes no network '{part}' that this version of ScaleGAN can build: "
                        f"{last_line(error)}") from error


def _fill(path: Path, module: nn.Module, part: str, weights: Mapping[str, Tensor], assign: bool = False) -> None:
    """Loads a player's weights. Raises UserError if they are another network's, or not finite."""
    own = {key.removeprefix(f"{part}/"): value for key, value in weights.items() if key.startswith(f"{part}/")}
    sick = [name for name, tensor in own.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if sick:
        raise UserError(f"{path}: {part}/{sick[0]} has values that are not finite (NaN or infinite), as training "
                        "that diverged leaves behind; use an earlier checkpoint")
    try:
        module.load_state_dict(own, assign=assign)
    except RuntimeError as error:
        raise UserError(f"the weights in {path} do not match the recipe stored with them: "
                        f"{last_line(error)}") from error


def last_line(error: Exception) -> str:
    """The last line of a message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
