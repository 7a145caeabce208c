"""What a recipe's game asks of the recipe, through the methods of its settings; those it leaves out have defaults here.

`players(recipe)` names the players, each with an optimizer; `streams(recipe)` the streams of samples, the first of
which `data` configures; `problems(recipe)` yields what is wrong, a line each; `groups(recipe)` tells, by key, how many
samples terms are defined over that are not means over samples. `of_family` is True where the game's networks are those
of the recipe's `model`, whose demands are then checked before anything is loaded.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from scalegan.data.spec import Link, Own

if TYPE_CHECKING:
    from scalegan.config.recipe import Recipe

REAL = "real"       # the one stream of most games


def of_family(recipe: "Recipe") -> bool:
    """Whether the game's networks are those of the recipe's `model`."""
    return getattr(recipe.game, "of_family", False)


def players_of(recipe: "Recipe") -> tuple[str, ...]:
    """Names of the players, each of which has an optimizer."""
    return tuple(recipe.game.players(recipe))


def streams_of(recipe: "Recipe") -> Mapping[str, Link]:
    """Streams of samples by name, with how they hang together; the first is the one that `data` configures."""
    streams = getattr(recipe.game, "streams", None)
    return streams(recipe) if streams else {REAL: Own()}


def problems_of(recipe: "Recipe") -> Iterable[str]:
    """What does not go together, a line each."""
    problems = getattr(recipe.game, "problems", None)
    return problems(recipe) if problems else ()


def groups_of(recipe: "Recipe") -> Mapping[str, int]:
    """Samples that terms are defined over which are not means over samples, by key."""
    groups = getattr(recipe.game, "groups", None)
    return groups(recipe) if groups else {}
