"""BiGAN's fully connected networks (Donahue et al., 2017, section 4.2 and published code), without any bias."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalegan.models.layers.batchnorm import GroupedBatchNorm
from scalegan.models.layers.initial import Generators, global_generator

_LEAK = 0.2


class Network(nn.Module):
    """Parts that the three networks share: samples as vectors with pixels in [0, 1], weights N(0, 0.02)."""

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape, self.size, self.pixels = tuple(shape), math.prod(shape), len(shape) == 3

    def flat(self, x: Tensor) -> Tensor:
        """Images [N, C, H, W] in [-1, 1] to [N, size] in [0, 1]; points as they are."""
        return (x.flatten(1) + 1) / 2 if self.pixels else x

    @torch.no_grad()
    def initialise(self, generator: Generators) -> None:
        for name, parameter in self.named_parameters():
            if not parameter.is_meta:
                parameter.normal_(0, 0.02, generator=generator(name))


class Generator(Network):
    """z [N, latent_dim] -> samples [N, *shape]; z enters both hidden layers. Pixels are sigmoids, points linear."""

    def __init__(self, shape: Sequence[int], hidden: int = 1024, latent_dim: int = 50, latent: str = "uniform",
                 norm_group: int = 32) -> None:
        super().__init__(shape)
        self.latent_dim, self.latent = latent_dim, latent
        self.first, self.second = _linear(latent_dim, hidden), _linear(hidden, hidden)
        self.skip, self.out = _linear(latent_dim, hidden), _linear(hidden, self.size)
        self.norms = nn.ModuleList(_norm(hidden, norm_group) for _ in range(2))
        self.initialise(global_generator)

    def forward(self, z: Tensor, labels: Tensor | None = None, psi: float = 1.0) -> Tensor:
        if psi != 1.0:
            raise ValueError("BiGAN has no truncation; leave psi at 1")
        h = F.relu(self.norms[0](self.first(z)))
        x = self.out(F.relu(self.norms[1](self.second(h) + self.skip(z))))
        return (2 * x.sigmoid() - 1 if self.pixels else x).unflatten(1, self.shape)

    def latent_weights(self) -> Tensor:
        """The weights by which z enters the first layer, [features, latent_dim]."""
        return self.first.weight


class Encoder(Network):
    """Samples [N, *shape] -> codes [N, latent_dim]: the mean, plus the standard deviation times `noise` if given.

    Args:
        latent: "uniform" squashes the mean into [-1, 1].
        stochastic: predicts a standard deviation; without one, `noise` is ignored.
    """

    def __init__(self, shape: Sequence[int], hidden: int = 1024, latent_dim: int = 50, latent: str = "uniform",
                 stochastic: bool = False, norm_group: int = 32) -> None:
        super().__init__(shape)
        self.latent_dim, self.latent, self.stochastic = latent_dim, latent, stochastic
        self.first, self.second = _linear(self.size, hidden), _linear(hidden, hidden)
        self.out = _linear(hidden, latent_dim * (2 if stochastic else 1))
        self.norm = _norm(hidden, norm_group)
        self.initialise(global_generator)

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        return drawn(self.out(self.features(x)), noise, self.stochastic, self.latent == "uniform")

    def features(self, x: Tensor) -> Tensor:
        """The last hidden layer [N, hidden], which the paper evaluates."""
        h = F.leaky_relu(self.first(self.flat(x)), _LEAK)
        return F.leaky_relu(self.norm(self.second(h)), _LEAK)


class Discriminator(Network):
    """Samples [N, *shape] and codes [N, latent_dim] -> logits [N] of the pair coming from the data and the encoder."""

    def __init__(self, shape: Sequence[int], hidden: int = 1024, latent_dim: int = 50, norm_group: int = 32) -> None:
        super().__init__(shape)
        self.first, self.second = _linear(self.size, hidden), _linear(hidden, hidden)
        self.code, self.out = _linear(latent_dim, hidden), _linear(hidden, 1)
        self.norm = _norm(hidden, norm_group)
        self.initialise(global_generator)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        h = self.second(F.leaky_relu(self.first(self.flat(x)), _LEAK)) + self.code(z)
        return self.out(F.leaky_relu(self.norm(h), _LEAK)).flatten()


def drawn(predicted: Tensor, noise: Tensor | None, stochastic: bool, bounded: bool) -> Tensor:
    """Codes [N, d] from a prediction: [N, d], or means and log standard deviations [N, 2d] if stochastic.

    Args:
        noise: standard normal [N, d]; without it, the means.
        bounded: squash the means into [-1, 1].
    """
    mean, log_deviation = predicted.chunk(2, 1) if stochastic else (predicted, None)
    mean = 2 * mean.sigmoid() - 1 if bounded else mean
    return mean if noise is None or not stochastic else mean + log_deviation.exp() * noise


def _linear(inputs: int, outputs: int) -> nn.Linear:
    return nn.Linear(inputs, outputs, bias=False)


def _norm(channels: int, group: int) -> GroupedBatchNorm:
    return GroupedBatchNorm(channels, norm_group=group, affine=False)
