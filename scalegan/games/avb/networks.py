"""The encoder and T of adversarial variational Bayes, both on the features of a family's discriminator."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalegan.games.aae.networks import without_output
from scalegan.models import mlp
from scalegan.models.layers.initial import Generators, global_generator


class NoisyEncoder(nn.Module):
    """Samples [N, *shape] and noises [N, M, noise_dim] -> codes [N, M, latent_dim].

    Noise is added before a hidden layer's nonlinearity and before the output, as in the published code, so codes of one
    image need not be normally distributed.
    """

    def __init__(self, trunk: nn.Module, noise_dim: int, hidden: int, latent_dim: int) -> None:
        super().__init__()
        self.noise_dim, self.trunk = noise_dim, without_output(trunk)
        self.image, self.noise = nn.Linear(trunk.encoding_size, hidden), nn.Linear(noise_dim, hidden)
        self.code, self.shift = nn.Linear(hidden, latent_dim), nn.Linear(noise_dim, latent_dim)
        self.initialise(global_generator)

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        h = F.elu(self.image(self.trunk.encode(x).flatten(1))[:, None] + self.noise(noise))
        return self.code(h) + self.shift(noise)

    def initialise(self, generator: Generators) -> None:
        self.trunk.initialise(generator)
        _initialise([self.image, self.noise, self.code, self.shift], generator)


class Ratio(nn.Module):
    """T: samples [N, *shape] and codes [N, latent_dim] -> [N], the logit of a code being the encoder's.

    T(x, z) = <theta(x), s(z)> / hidden + t(x) + u(s(z)), plus |z|^2 / 2 with `half_norm`.
    """

    def __init__(self, trunk: nn.Module, hidden: int, latent_dim: int, half_norm: bool = False) -> None:
        super().__init__()
        self.half_norm, self.trunk = half_norm, without_output(trunk)
        self.s = mlp.Discriminator((latent_dim,), hidden, 2)            # its output layer is u
        self.theta, self.t = nn.Linear(trunk.encoding_size, hidden), nn.Linear(trunk.encoding_size, 1)
        self.initialise(global_generator)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        features, s = self.trunk.encode(x).flatten(1), self.s.encode(z)
        logit = (self.theta(features) * s).mean(1) + self.t(features).flatten() + self.s.classify(s)
        return logit + z.square().sum(1) / 2 if self.half_norm else logit

    def initialise(self, generator: Generators) -> None:
        self.trunk.initialise(generator)
        self.s.initialise(lambda name: generator(f"s.{name}"))
        _initialise([self.theta, self.t], generator)


class Encode(nn.Module):
    """Images to the codes [N, latent_dim] of zero noise."""

    def __init__(self, encoder: NoisyEncoder) -> None:
        super().__init__()
        self.E = encoder

    def forward(self, images: Tensor) -> Tensor:
        return self.E(images, images.new_zeros(images.shape[0], 1, self.E.noise_dim))[:, 0]


@torch.no_grad()
def _initialise(layers: list[nn.Linear], generator: Generators) -> None:
    """Weights N(0, 1 / fan_in), zero biases."""
    for number, layer in enumerate(layers):
        if not layer.weight.is_meta:
            layer.weight.normal_(0.0, 1 / math.sqrt(layer.in_features), generator=generator(f"joint.{number}"))
            layer.bias.zero_()
