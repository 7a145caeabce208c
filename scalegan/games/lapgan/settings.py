"""Keys under `game` for LAPGAN."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, PositiveInt

from scalegan.config import requirements
from scalegan.config.schema import typed

if TYPE_CHECKING:
    from scalegan.config.recipe import Recipe

_SMALLEST = 5       # px: the next finer discriminator's convolutions need more than twice as many


@typed
class LAPGAN:
    """A Laplacian pyramid of generators, each with a discriminator of its own (Denton et al., 2015)."""

    name: Literal["lapgan"] = "lapgan"
    levels: Annotated[int, Field(ge=2)] = 3
    """Levels of the pyramid. Level 0 has data.resolution, every further one half of it; players are G0, D0, G1, D1, ...
    The coarsest is a GAN, the others add details to an image of half their size."""
    width: PositiveInt = 64
    """Channels of the convolutional networks, which all levels but the coarsest have."""
    base_hidden: Annotated[int, Field(ge=5)] = 8000
    """Units in each of the two hidden layers of the coarsest generator; its discriminator has a fifth. With 8000, as
    published, that generator alone has 66 million weights; 1000 is enough to try it on a CPU."""
    latent_dim: PositiveInt = 100
    """Length of the coarsest generator's z. The others take a plane of noise of their image's size."""

    def players(self, recipe: "Recipe") -> tuple[str, ...]:
        return tuple(f"{player}{level}" for level in range(self.levels) for player in "GD")

    def problems(self, recipe: "Recipe") -> Iterator[str]:
        data, halvings = recipe.data, 2 ** (self.levels - 1)
        if data.backend == "points":
            yield "game.name=lapgan makes images, not 2-D points; use another data.backend"
        elif any(side % halvings or side // halvings < _SMALLEST for side in data.sides):
            yield (f"game.levels={self.levels} halves data.resolution={data.resolution} {self.levels - 1} times, which "
                   f"must leave whole pixels and at least {_SMALLEST}; use fewer levels or another resolution")
        if data.labels != "none":
            yield "game.name=lapgan learns without labels; set data.labels=none"
        if recipe.augment.name != "none":
            yield "game.name=lapgan compares details of unchanged images; set augment.name=none"
        yield from requirements.own_networks(recipe)
        if (recipe.micro_batch_size or 0) % 2 or recipe.batch_size // recipe.lanes % 2:
            yield ("game.name=lapgan takes every other image of a micro-batch as real, the rest for fakes; make "
                   "micro_batch_size, and batch_size divided by lanes, even")
        if recipe.engine.compile:
            yield "game.name=lapgan has dropout with keyed masks, which cannot be compiled; set engine.compile=false"
