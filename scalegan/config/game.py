"""What a game requires of the recipe, as methods of its settings; the defaults of optional methods are here.

`players(recipe)` names the players, each with an optimizer; `streams(recipe)` names the streams of samples, the first
of which is configured by `data`; `problems(recipe)` yields error messages, one line each; `groups(recipe)` gives, by
key, the group sizes of terms that are not means over samples. `of_family` is True if the game's networks are those of
the recipe's `model`, whose requirements are then checked before loading. `volumes` names the streams of volumes;
`with_latents` is True if samples may be latents.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from scalegan.data.spec import Link, Own

if TYPE_CHECKING:
    from scalegan.config.recipe import Recipe

REAL = "real"       # the only stream of most games


def of_family(recipe: "Recipe") -> bool:
    """Whether the game's networks are those of the recipe's `model`."""
    return getattr(recipe.game, "of_family", False)


def volumes_of(recipe: "Recipe") -> tuple[str, ...]:
    """The streams whose samples are volumes; those of all others are images or points."""
    return getattr(recipe.game, "volumes", ())


def with_latents(recipe: "Recipe") -> bool:
    """Whether the game can be played with latents in place of images."""
    return getattr(recipe.game, "with_latents", False)


def players_of(recipe: "Recipe") -> tuple[str, ...]:
    """Names of the players; each has an optimizer."""
    return tuple(recipe.game.players(recipe))


def streams_of(recipe: "Recipe") -> Mapping[str, Link]:
    """Streams of samples by name, and how they are linked; `data` configures the first."""
    streams = getattr(recipe.game, "streams", None)
    return streams(recipe) if streams else {REAL: Own()}


def problems_of(recipe: "Recipe") -> Iterable[str]:
    """Error messages about the recipe, one line each."""
    problems = getattr(recipe.game, "problems", None)
    return problems(recipe) if problems else ()


def groups_of(recipe: "Recipe") -> Mapping[str, int]:
    """Group sizes, by key, of terms that are not means over samples."""
    groups = getattr(recipe.game, "groups", None)
    return groups(recipe) if groups else {}
