"""Keys under `game` for SRGAN."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from scalegan.config import requirements
from scalegan.config.models import UPSCALERS
from scalegan.config.schema import typed
from scalegan.support.resolution import of_sides

if TYPE_CHECKING:
    from scalegan.config.recipe import Recipe

BEST_JPEG = 95
_LEAST = 16         # px: the discriminator halves a side four times


@typed
class Degrade:
    """How training inputs are worse than a clean reduction. Each image draws its own strength, from nothing up to the
    bound. Pictures and evaluations have clean inputs."""

    blur: NonNegativeFloat = 0.0
    """Largest standard deviation of a Gaussian blur before the reduction, in pixels of the large image."""
    noise: NonNegativeFloat = 0.0
    """Largest standard deviation of Gaussian noise after it, where pixels go from 0 to 255."""
    jpeg: Annotated[int, Field(ge=1, le=BEST_JPEG)] | None = None
    """Lowest quality of a JPEG compression at the end, up to 95; null for none."""


@typed
class SRGAN:
    """A generator that enlarges images by `model.scale`, and a discriminator of large images (Ledig et al., 2017). It
    learns from images of data.path and their bicubic reductions. With adversarial_weight=0 it is SRResNet."""

    name: Literal["srgan"] = "srgan"
    pretraining: NonNegativeInt = 0
    """Images for which G learns alone from the distance between pixels, as SRResNet does, before D joins."""
    adversarial_weight: NonNegativeFloat = 1e-3
    """Weight of the adversarial term -log D(G(x)) in G's loss; 0 trains SRResNet, without D."""
    pixel: Literal["l2", "l1"] = "l2"
    """Distance between answer and image: the mean squared difference, pixels going from -1 to 1, or the mean absolute
    one."""
    pixel_weight: NonNegativeFloat = 1.0
    """Weight of that distance after the pretraining."""
    perceptual_weight: NonNegativeFloat = 0.0
    """Weight, after the pretraining, of the mean squared difference between features of EfficientNet-Lite0 (the paper
    has VGG19's); 0 for none. Needs the extra [metrics]."""
    crop: PositiveInt | None = None
    """Side of the square that is cut from each image at random, in pixels; null for the whole image."""
    degrade: Degrade = Degrade()

    def players(self, recipe: "Recipe") -> tuple[str, ...]:
        return ("G", "D") if self.adversarial_weight else ("G",)

    def problems(self, recipe: "Recipe") -> Iterator[str]:
        model, data = recipe.model, recipe.data
        if model.name not in UPSCALERS:
            yield f"game.name={self.name} enlarges images; set model.name={' or '.join(UPSCALERS)}"
            return
        yield from requirements.images(recipe)
        if data.labels != "none":
            yield f"game.name={self.name} has no use for labels; set data.labels=none"
        if recipe.augment.name != "none":
            yield (f"game.name={self.name} has no use for augmentation, as G would learn from images that D does not "
                   "see; set augment.name=none")
        yield from self._problems_of_size(data.sides, model.scale)
        if not self.pixel_weight and not self.perceptual_weight:
            yield ("game.pixel_weight=0 and game.perceptual_weight=0 leave G without an image to come close to; set "
                   "one of them")
        if self.pretraining and not self.adversarial_weight:
            yield ("game.pretraining ends where the adversarial term begins, which game.adversarial_weight=0 leaves "
                   "out; leave out game.pretraining too")

    def _problems_of_size(self, sides: tuple[int, int], scale: int) -> Iterator[str]:
        least, of_data = min(sides), of_sides(*sides)
        shown, side, key = (of_data, least, "data.resolution") if self.crop is None else \
            (self.crop, self.crop, "game.crop")
        if side > least:
            yield f"game.crop={side} is larger than the images, data.resolution={of_data}; set it to {least} or less"
        if any(length % scale for length in sides):
            fitting = of_sides(*(length // scale * scale for length in sides))
            yield f"data.resolution={of_data} is not a multiple of model.scale={scale}; set it to {fitting}"
        if self.crop is not None and self.crop % scale:
            yield f"{key}={side} is not a multiple of model.scale={scale}; set it to {side // scale * scale}"
        if side < _LEAST:
            yield f"{key}={shown} is too small for game.name={self.name}; set {_LEAST} or more"

    def groups(self, recipe: "Recipe") -> Mapping[str, int]:
        group = recipe.model.norm_group
        return {} if group == "batch" else {"model.norm_group": group}
