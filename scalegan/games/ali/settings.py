"""Keys under `game` for ALI."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from pydantic import PositiveInt

from scalegan.config.schema import typed
from scalegan.games.bigan.settings import BiGAN

if TYPE_CHECKING:
    from scalegan.config.recipe import Recipe

RESOLUTION = 32


@typed
class ALI(BiGAN):
    """BiGAN's game with a stochastic encoder and convolutional networks (Dumoulin et al., 2017)."""

    name: Literal["ali"] = "ali"
    networks: Literal["convolutional", "dense"] = "convolutional"
    """convolutional: the paper's, for 32 px. dense: those of BiGAN, for images of any size and 2-D points."""
    width: PositiveInt = 32
    """Convolutional: channels of E's first layer; all other layers have multiples of it."""
    hidden: PositiveInt = 1024
    """Dense: units in every hidden layer."""
    latent_dim: PositiveInt = 64
    """Length of z."""
    latent: Literal["normal", "uniform"] = "normal"
    """Distribution of z: N(0, 1) as in the paper, or uniform in [-1, 1], which also bounds the encoder's means."""
    encoder: Literal["deterministic", "stochastic"] = "stochastic"
    """stochastic: z is drawn from N(mu(x), sigma(x)^2). deterministic: z = E(x), as in BiGAN."""
    halve_channels: bool = False
    """Convolutional: D's maxout layers leave half of the channels that the paper prints, as in the published code."""

    def problems(self, recipe: "Recipe") -> Iterator[str]:
        yield from super().problems(recipe)
        if self.networks == "convolutional" and recipe.data.backend == "points":
            yield "game.networks=convolutional needs images, but data.backend=points; set game.networks=dense"
        elif self.networks == "convolutional" and recipe.data.resolution != RESOLUTION:
            yield (f"data.resolution={recipe.data.resolution}: game.networks=convolutional supports {RESOLUTION}; use "
                   "that, or game.networks=dense")
