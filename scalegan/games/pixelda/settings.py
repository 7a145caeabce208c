"""Keys under `game` for pixel-level domain adaptation."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import NonNegativeFloat, PositiveInt

from scalegan.config import requirements
from scalegan.config.schema import typed
from scalegan.data.spec import Link, Own

if TYPE_CHECKING:
    from scalegan.config.recipe import Recipe


@typed
class PixelDA:
    """A classifier for images without labels, trained on labelled images of another kind that G makes look like them
    (Bousmalis et al., 2017). The labelled ones are in data.path, the others in streams.target.path."""

    name: Literal["pixelda"] = "pixelda"
    width: PositiveInt = 64
    """Channels of G, and of the first layer of D."""
    blocks: PositiveInt = 6
    """G's residual blocks."""
    noise_dim: PositiveInt = 10
    """Length of z, uniform in [-1, 1], which G sees as a further channel."""
    task: NonNegativeFloat = 0.9
    """Weight of the classifier's cross-entropy on adapted images in G's loss, beside 1 for the adversarial loss;
    published for MNIST to MNIST-M: 0.0101 beside 0.0113."""
    norm_group: PositiveInt = 16
    """Consecutive samples of the global batch that share BatchNorm statistics."""

    def players(self, recipe: "Recipe") -> tuple[str, ...]:
        return "G", "D", "T"

    def streams(self, recipe: "Recipe") -> Mapping[str, Link]:
        return {"source": Own(), "target": Own()}

    def problems(self, recipe: "Recipe") -> Iterator[str]:
        if recipe.data.labels != "class":
            yield "game.name=pixelda learns the classes of the images in data.path; set data.labels=class"
        yield from requirements.two_sets_of_images(recipe, "target")
        yield from requirements.own_networks(recipe)

    def groups(self, recipe: "Recipe") -> Mapping[str, int]:
        return {"game.norm_group": self.norm_group}
