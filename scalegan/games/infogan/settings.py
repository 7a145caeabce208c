"""Keys under `game` for InfoGAN."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from scalegan.config import requirements
from scalegan.config.schema import typed

if TYPE_CHECKING:
    from scalegan.config.recipe import Recipe


@typed
class InfoGAN:
    """A generator whose codes can be read from its images, against a discriminator (Chen et al., 2016)."""

    of_family: ClassVar[bool] = True
    name: Literal["infogan"] = "infogan"
    categories: tuple[Annotated[int, Field(ge=2)], ...] = (10,)
    """Number of values of each categorical code, drawn uniformly."""
    continuous: NonNegativeInt = 2
    """Number of continuous codes, uniform in [-1, 1]."""
    weight: NonNegativeFloat = 1.0
    """lambda: weight of the mutual information with categorical codes."""
    continuous_weight: NonNegativeFloat = 0.1
    """Weight of the mutual information with continuous codes."""
    fixed_deviation: bool = False
    """Fix the standard deviation of continuous codes at 1, as the published code does; the paper learns it."""
    learns_with: Literal["G", "D"] = "G"
    """Player with which Q learns. G: as in the paper, on the features that D learns for itself. D: as in the published
    code, where D minimises -lambda L_I as well, so that the features learn to show the codes, and where Q does not move
    with G."""
    hidden: PositiveInt = 128
    """Units of Q's own hidden layer, after the features that it shares with D."""

    def players(self, recipe: "Recipe") -> tuple[str, ...]:
        return "G", "D", "Q"

    def problems(self, recipe: "Recipe") -> Iterator[str]:
        if not self.categories and not self.continuous:
            yield "game.categories and game.continuous are both empty; set one, InfoGAN needs a code"
        if recipe.data.labels != "none":
            yield "game.name=infogan learns its codes without labels; set data.labels=none"
        yield from requirements.last_features(recipe)
