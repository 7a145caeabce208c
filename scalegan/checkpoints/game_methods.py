"""Methods of games, for generators that were loaded from a file."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from scalegan.checkpoints import exports, players
from scalegan.data.spec import Spec
from scalegan.games.base import Game, Preview
from scalegan.games.lookup import game_of


def fakes_of(path: str | Path, ema: str | None, generator: nn.Module) -> Callable[[Preview], Tensor] | None:
    """The function by which a loaded generator's game makes samples; None if that takes the generator alone."""
    return _method_of(path, ema, generator, "fakes")


def cycles_of(path: str | Path, ema: str | None, generator: nn.Module,
              ) -> Callable[[Preview], Mapping[str, tuple[Tensor, Tensor]]] | None:
    """The game's `cycles`, for a loaded generator; None if it does not translate there and back."""
    return _method_of(path, ema, generator, "cycles")


def _method_of(path: str | Path, ema: str | None, generator: nn.Module, method: str) -> Callable | None:
    """A method of a loaded generator's game, with all its networks; None if the game does not implement it."""
    about = generator.about
    kind = game_of(about["recipe"]["game"]["name"])
    if getattr(kind, method) is getattr(Game, method):
        return None
    recipe = players.recipe_of(Path(path), about)
    with torch.device("meta"):      # only for the game's settings; its networks are the loaded ones
        game = kind.make(recipe, {stream: Spec.of(spec) for stream, spec in about["specs"].items()})
    device = next(generator.parameters()).device
    networks = {name: network.to(device) for name, network in exports.load_all(path, ema).items()}
    return partial(getattr(game, method), networks | {about["network"]: generator})
