"""Keys under `game` for 3D-GAN."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, PositiveInt

from scalegan.config import requirements
from scalegan.config.schema import typed

if TYPE_CHECKING:
    from scalegan.config.recipe import Recipe

RESOLUTIONS = (16, 32, 64)


@typed
class Encoder:
    """The encoder of 3D-VAE-GAN: from a picture of a shape to a distribution of z (section 3.3 of the paper)."""

    width: PositiveInt = 64
    """Channels of the first layer."""
    divergence: NonNegativeFloat = 5.0
    """Weight of the divergence of that distribution from N(0, I), a sum over z (the paper's alpha_1)."""
    reconstruction: NonNegativeFloat = 1e-4
    """Weight of the distance |G(E(y)) - x| of a shape from what is made of its picture (the paper's alpha_2)."""


@typed
class GAN3D:
    """A generator of shapes, as voxels, against a discriminator that waits while it is ahead (Wu et al., 2016)."""

    volumes: ClassVar[tuple[str, ...]] = ("real",)
    name: Literal["gan3d"] = "gan3d"
    loss: Literal["non_saturating", "minimax"] = "non_saturating"
    """Adversarial loss; the paper prints minimax."""
    accuracy: Annotated[float, Field(ge=0.5, lt=1)] | None = 0.8
    """D is updated only if it told at most this share of the last batch, of reals and fakes alike, from each other; or
    null to update it always."""
    latent_dim: PositiveInt = 200
    """Length of z."""
    latent: Literal["unit", "uniform", "normal"] = "unit"
    """Distribution of z: uniform in [0, 1] as in the paper, uniform in [-1, 1], or N(0, 1). In the unit cube all of z
    is positive, so that what Adam adds to all weights at once outgrows the differences between samples: in short runs
    all samples are alike."""
    encoder: Encoder | None = None
    """Also learn an encoder, so that G makes the shape in a picture (3D-VAE-GAN); or null."""
    width: PositiveInt = 64
    """Channels of the largest feature maps; those of half the side have twice as many."""
    norm_group: PositiveInt = 16
    """Consecutive samples of the global batch that share BatchNorm statistics."""

    def players(self, recipe: "Recipe") -> tuple[str, ...]:
        return ("G", "D", "E") if self.encoder else ("G", "D")

    def problems(self, recipe: "Recipe") -> Iterator[str]:
        data = recipe.data
        if data.backend != "webdataset":
            yield (f"game.name={self.name} needs volumes, which data.backend={data.backend} does not read; prepare "
                   "them with `scalegan prepare --kind volumes`, and set data.backend=webdataset")
        if data.resolution not in RESOLUTIONS:
            yield (f"data.resolution={data.resolution}: game.name={self.name} supports "
                   f"{', '.join(map(str, RESOLUTIONS))} voxels")
        if self.encoder and self.latent != "normal":
            yield (f"game.encoder draws z from Gaussians, but game.latent={self.latent}; set game.latent=normal, or "
                   "leave out game.encoder")
        if data.labels != "none":
            yield f"game.name={self.name} learns without labels; set data.labels=none"
        if recipe.augment.name != "none":
            yield f"augment.name={recipe.augment.name} augments images, not volumes; set augment.name=none"
        if recipe.eval.every_images:
            yield f"eval compares images, and game.name={self.name} makes volumes; set eval.every_images=0"
        yield from requirements.own_networks(recipe)

    def groups(self, recipe: "Recipe") -> Mapping[str, int]:
        return {"game.norm_group": self.norm_group}
