"""Keys under `game` of InfoGAN."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from scalegan.config.schema import typed

if TYPE_CHECKING:
    from scalegan.config.recipe import Recipe


@typed
class InfoGAN:
    """A generator whose codes can be read from its images, against a discriminator (Chen et al., 2016)."""

    of_family: ClassVar[bool] = True
    name: Literal["infogan"] = "infogan"
    categories: tuple[Annotated[int, Field(ge=2)], ...] = (10,)
    """Values of each categorical code; a code is drawn uniformly."""
    continuous: NonNegativeInt = 2
    """Continuous codes, uniform in [-1, 1]."""
    weight: NonNegativeFloat = 1.0
    """lambda of the mutual information with categorical codes."""
    continuous_weight: NonNegativeFloat = 0.1
    """The same with continuous codes."""
    fixed_deviation: bool = False
    """Take the standard deviation of continuous codes for 1, as the published code does; the paper learns it."""
    hidden: PositiveInt = 128
    """Units of Q's own layer, above the features that it shares with D."""

    def players(self, recipe: "Recipe") -> tuple[str, ...]:
        return "G", "D", "Q"

    def problems(self, recipe: "Recipe") -> Iterator[str]:
        if not self.categories and not self.continuous:
            yield "game.categories and game.continuous are both empty: InfoGAN needs a code"
        if recipe.data.labels != "none":
            yield "game.name=infogan finds codes by itself, and takes no labels; use data.labels=none"
        if recipe.model.name not in ("dcgan", "mlp"):
            yield (f"game.name=infogan reads codes from D's last features, which model.name={recipe.model.name} does "
                   "not show; use dcgan or mlp")
