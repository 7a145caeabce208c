"""Takes parameters out of training (`freeze`)."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

from scalegan.errors import RecipeError
from scalegan.games.base import Game
from scalegan.support.names import nearest


def freeze(game: Game, patterns: Iterable[str]) -> None:
    """Takes the players' parameters that match out of training for good (for D's first layers: Mo et al., 2020,
    "Freeze the Discriminator"). A pattern names parameters or modules, with * and ? as in file names.

    Raises:
        RecipeError: if a pattern matches nothing, or a player has nothing left to train.
    """
    names = {f"{player}.{name}": parameter for player, network in game.players.items()
             for name, parameter in network.named_parameters()}
    for pattern in patterns:
        chosen = [name for name in names if any(fnmatchcase(one, pattern) for one in prefixes(name))]
        if not chosen:
            known = dict.fromkeys(prefix for name in names for prefix in prefixes(name))
            close = nearest(pattern.removesuffix(".*"), known)
            raise RecipeError(f"freeze={pattern} matches no parameter of {' or '.join(game.players)}"
                              + (f"; did you mean '{close}'?" if close else f"; the first is {next(iter(names))}"))
        for name in chosen:
            names[name].requires_grad_(False)
    for player, network in game.players.items():
        parameters = list(network.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            raise RecipeError(f"freeze leaves nothing of {player} to train; leave some of its layers out")


def prefixes(name: str) -> list[str]:
    """D.blocks.8.weight: D, D.blocks, D.blocks.8, and the name itself."""
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
