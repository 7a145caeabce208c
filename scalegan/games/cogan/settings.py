"""Keys under `game` for coupled GANs."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from scalegan.config import requirements
from scalegan.config.schema import typed
from scalegan.data.spec import Link, Own

if TYPE_CHECKING:
    from scalegan.config.recipe import Recipe

RESOLUTION = 28


@typed
class CoGAN:
    """A GAN for each of two domains, which share layers and so learn pairs from unpaired images (Liu & Tuzel, 2016)."""

    name: Literal["cogan"] = "cogan"
    second: Literal["given", "edges", "negative"] = "given"
    """Images of the second domain: those of the stream `second`, or their edges or negatives."""
    latent_dim: PositiveInt = 100
    """Length of z, from which both domains' images are made."""
    latent: Literal["normal", "uniform"] = "normal"
    """Distribution of z: N(0, 1), or uniform in [-1, 1], as in the two published versions, PyTorch and Caffe."""
    width: Annotated[int, Field(ge=8)] = 1024
    """Channels of the generators' first layer; the next three have a half, a quarter and an eighth."""
    norm_group: PositiveInt = 16
    """Consecutive samples of the global batch that share BatchNorm statistics."""
    half_loss: bool = False
    """Halve the adversarial losses, a mean over both domains as in the published code, instead of their sum."""
    adaptation: bool = False
    """Domain adaptation: the discriminators' shared layers also learn the classes of the first domain's images, to tell
    those of the second, whose labels they never see."""
    class_weight: PositiveFloat = 10.0
    """adaptation: weight of the cross-entropy of the classes."""
    feature_weight: NonNegativeFloat = 0.01
    """adaptation: weight of the squared distance between D's last features of the two fakes of one z."""

    def players(self, recipe: "Recipe") -> tuple[str, ...]:
        return "G_shared", "G1", "G2", "D_shared", "D1", "D2"

    def streams(self, recipe: "Recipe") -> Mapping[str, Link]:
        return {"first": Own(), "second": Own()}

    def problems(self, recipe: "Recipe") -> Iterator[str]:
        data, second = recipe.data, recipe.streams["second"]
        for key, found in (("data", data), ("streams.second", second)):
            if found.backend == "points":
                yield f"game.name=cogan makes images, not 2-D points; use another {key}.backend"
            elif found.resolution != RESOLUTION:
                yield f"{key}.resolution={found.resolution}: game.name=cogan supports {RESOLUTION}"
        if self.adaptation and data.labels != "class":
            yield "game.adaptation=true learns the first domain's classes; set data.labels=class"
        if not self.adaptation and data.labels != "none":
            yield "game.name=cogan learns without labels; set data.labels=none, or game.adaptation=true"
        if second.labels != "none":
            yield "game.name=cogan has no use for the second domain's labels; set streams.second.labels=none"
        if not self.adaptation and (self.class_weight, self.feature_weight) != (10.0, 0.01):
            yield "game.class_weight and game.feature_weight apply only to game.adaptation=true; leave them out"
        if recipe.augment.name != "none":
            yield "game.name=cogan has no use for augmentation; set augment.name=none"
        yield from requirements.own_networks(recipe)

    def groups(self, recipe: "Recipe") -> Mapping[str, int]:
        return {"game.norm_group": self.norm_group}
