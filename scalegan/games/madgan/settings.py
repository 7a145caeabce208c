"""Keys under `game` for MAD-GAN."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from scalegan.config import requirements
from scalegan.config.schema import typed

if TYPE_CHECKING:
    from scalegan.config.recipe import Recipe


@typed
class MADGAN:
    """Several generators against a discriminator that tells them apart (Ghosh et al., 2018)."""

    of_family: ClassVar[bool] = True
    name: Literal["madgan"] = "madgan"
    generators: Annotated[int, Field(ge=2)] = 4
    """Number of generators; they share all layers but the last, and each makes an equal part of the samples."""
    loss: Literal["non_saturating", "minimax"] = "non_saturating"
    """The generators' loss: non_saturating, as in the published code; or minimax, as the paper prints it."""

    def players(self, recipe: "Recipe") -> tuple[str, ...]:
        return "G", "D"

    def problems(self, recipe: "Recipe") -> Iterator[str]:
        if recipe.data.labels != "none":
            yield "game.name=madgan has a generator for each kind of image, and no labels; set data.labels=none"
        yield from requirements.last_features(recipe)
