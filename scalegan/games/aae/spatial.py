"""Codes with height and width: both halves of an `AutoencoderKL` as the players of an adversarial autoencoder.

The encoder is stochastic, the second of the three kinds in section 2 of the paper: it gives a mean and a standard
deviation, and codes are drawn from this posterior.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from scalegan.games.aae.networks import Latent
from scalegan.models import autoencoder_kl
from scalegan.models.autoencoder_kl import Sizes
from scalegan.models.layers.initial import Generators
from scalegan.models.layers.tracked import Tracked
from scalegan.randomness import Draws

_LOG_VARIANCE = -6.0        # at the start: a standard deviation of about 0.05
_SHARE = 0.01       # of a new update in the running moments


class Moments(Tracked):
    """Running mean and mean square of all codes, whose standard deviation makes the scale of latents."""

    def __init__(self) -> None:
        super().__init__()
        self.statistics = {"mean": (), "square": ()}
        for name in ("mean", "square", "updates"):
            self.register_buffer(name, torch.zeros(()))

    def advance(self, mean: Tensor, square: Tensor) -> None:
        self.updates += 1
        share = (1 / self.updates).clamp(min=_SHARE)        # a mean of all until there are many
        self.mean.lerp_(mean.to(self.mean.dtype), share)
        self.square.lerp_(square.to(self.square.dtype), share)

    @property
    def deviation(self) -> float:
        """Standard deviation of the codes; 1 before any was drawn."""
        return float((self.square - self.mean.square()).sqrt()) if self.updates else 1.0


class SpatialEncoder(autoencoder_kl.Encoder):
    """Images -> moments of their codes [N, 2C, h, w]. Codes z are rows [N, C h w]; there are no classes."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__(sizes)
        self.moments = Moments()

    @torch.no_grad()
    def initialise(self, generator: Generators) -> None:
        """Posteriors start narrow. Wide ones look like the prior to D from the start, and whole channels stay so: noise
        that carries nothing of the image."""
        super().initialise(generator)
        _, log_variances = self.quant_conv.bias.chunk(2)
        if not log_variances.is_meta:
            log_variances.fill_(_LOG_VARIANCE)

    def split(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """The means of the codes, and logits of no classes [N, 0]."""
        mean = autoencoder_kl.posterior(outputs)[0].flatten(1)
        return mean, mean[:, :0]

    def drawn(self, outputs: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """The same with codes from the posterior."""
        mean, deviation = autoencoder_kl.posterior(outputs)
        z = (mean + deviation * draws.normal("posterior", *mean.shape[1:])).flatten(1)
        if self.training:
            self.moments.observe(mean=z.mean(), square=z.square().mean())
        return z, z[:, :0]


class SpatialDecoder(autoencoder_kl.Decoder):
    """Codes [N, C h w] -> images; a generator without labels.

    Args:
        sides: height and width of the images.
    """

    def __init__(self, sizes: Sizes, sides: Sequence[int], latent: Latent) -> None:
        super().__init__(sizes)
        self.shape = code_shape(sizes, sides)
        self.latent, self.latent_dim = latent, latent.prior.dim

    def forward(self, z: Tensor, labels: Tensor | None = None, psi: float = 1.0) -> Tensor:
        if psi != 1.0:
            raise ValueError("an adversarial autoencoder has no truncation; leave psi at 1")
        return super().forward(z.unflatten(1, self.shape))


def code_shape(sizes: Sizes, sides: Sequence[int]) -> tuple[int, int, int]:
    """(C, h, w) of the codes of images with these sides."""
    height, width = (side // sizes.factor for side in sides)
    return sizes.latent_channels, height, width
