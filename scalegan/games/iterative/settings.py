"""Keys under `game` for the iterative GAN."""

from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Literal

from pydantic import NonNegativeFloat, PositiveInt

from scalegan.config import requirements
from scalegan.config.schema import typed
from scalegan.config.tricks import AdaptiveUpdates

if TYPE_CHECKING:
    from scalegan.config.recipe import Recipe

_STEP = 16      # G and D halve or double the resolution four times


@typed
class Iterative:
    """A generator, and a recogniser on D's features, that rebuild images together (Ma et al., 2018)."""

    name: Literal["iterative"] = "iterative"
    perceptual: NonNegativeFloat = 2.0
    """Weight of the mean absolute difference between D's features of an image and of its rebuilding, summed over
    D's four convolutions."""
    pixel: NonNegativeFloat = 0.5
    """Weight of the mean absolute difference between an image and its rebuilding."""
    code: NonNegativeFloat = 1.0
    """Weight of the mean absolute difference between z and the code that C finds in G(z, c). The paper compares pixel
    alone (perceptual and code 0), code alone, code and pixel, and all three."""
    label_weight: NonNegativeFloat = 1.0
    """Weight of the attributes' cross-entropy, a mean over attributes, beside the adversarial losses."""
    adaptive_updates: AdaptiveUpdates | None = field(default_factory=AdaptiveUpdates)
    """More updates for D or G if its adversarial loss is much higher, as in the paper, which gives no numbers; or null
    for one update each."""
    latent_dim: PositiveInt = 100
    """Length of z and of C's code, uniform in [-1, 1]."""
    width: PositiveInt = 64
    """Channels of the largest feature map; the others have twice, four and eight times as many."""
    hidden: PositiveInt = 1024
    """Units of the layer that C's attributes and its code share."""
    norm_group: PositiveInt = 16
    """Consecutive samples of the global batch that share BatchNorm statistics."""

    def players(self, recipe: "Recipe") -> tuple[str, ...]:
        return "G", "trunk", "D", "C"

    def problems(self, recipe: "Recipe") -> Iterator[str]:
        data = recipe.data
        if data.labels != "attributes":
            yield "game.name=iterative learns to recognise attributes; set data.labels=attributes"
        if data.backend == "points":
            yield "game.name=iterative needs images, but data.backend=points has 2-D points; set another backend"
        elif isinstance(data.resolution, str):
            yield f"data.resolution={data.resolution}: game.name=iterative makes squares; set one number"
        elif data.resolution % _STEP or data.resolution < 2 * _STEP:
            yield f"data.resolution={data.resolution}: game.name=iterative needs a multiple of {_STEP} from 32 on"
        if not (self.perceptual or self.pixel or self.code):
            yield ("game.perceptual, game.pixel and game.code are all 0, so nothing is rebuilt; set one of them, or "
                   "use game.name=acgan")
        yield from requirements.own_networks(recipe)

    def groups(self, recipe: "Recipe") -> Mapping[str, int]:
        return {"game.norm_group": self.norm_group}
