"""Keys under `game` for SimGAN."""

from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Literal

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt

from scalegan.config import requirements
from scalegan.config.schema import typed
from scalegan.data.spec import Link, Own

if TYPE_CHECKING:
    from scalegan.config.recipe import Recipe


@typed
class SimGAN:
    """A refiner R that makes simulated images look real and keeps what their labels say (Shrivastava et al., 2017).
    Simulated images, with labels or without, are in data.path, real ones, without labels, in streams.real.path."""

    name: Literal["simgan"] = "simgan"
    width: PositiveInt = 64
    """R's channels."""
    blocks: NonNegativeInt = 4
    """R's residual blocks; with each, a refined pixel depends on simulated ones two pixels further away."""
    self_regularisation: NonNegativeFloat = 4.0
    """Weight of the mean absolute difference between an image and its refinement, beside the mean over patches of the
    adversarial loss: for grey images 16 times, for colour 48 times the lambda of sums over both. The paper gives no
    value."""
    pool: NonNegativeInt = 1_000
    """Past refined images, of which D sees about as many as new ones; 0 for none. The paper gives no size."""
    pretrain_refiner_images: NonNegativeInt = 512_000
    """Images at the start during which R alone learns, by the difference to its input: 1,000 batches of the paper."""
    pretrain_discriminator_images: NonNegativeInt = 102_400
    """Images after these during which D alone learns: 200 batches of the paper."""
    updates: dict[Literal["R", "D"], PositiveInt] = field(default_factory=lambda: {"R": 2, "D": 1})
    """Updates per iteration afterwards, each on a batch of its own."""

    def players(self, recipe: "Recipe") -> tuple[str, ...]:
        return "R", "D"

    def streams(self, recipe: "Recipe") -> Mapping[str, Link]:
        return {"simulated": Own(), "real": Own()}

    def problems(self, recipe: "Recipe") -> Iterator[str]:
        yield from requirements.two_sets_of_images(recipe, "real")
        yield from requirements.own_networks(recipe)
