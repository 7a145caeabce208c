"""Networks of pixel-level domain adaptation (Bousmalis et al., 2017, appendix, and published code)."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from scalegan.models.layers.batchnorm import GroupedBatchNorm
from scalegan.models.layers.dropout import KeyedDropout
from scalegan.models.layers.initial import Generators, global_generator, glorot_uniform, small_normal
from scalegan.models.layers.noise import KeyedNoise

_DROPPED, _NOISE, _LAST_SIDE = 0.1, 0.2, 4


class Block(nn.Module):
    """x + BN(conv(ReLU(BN(conv(x)))))."""

    def __init__(self, width: int, norm_group: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*_convolved(width, width, 1, norm_group), nn.ReLU(),
                                    *_convolved(width, width, 1, norm_group))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class Generator(nn.Module):
    """Images [N, C, S, S] in [-1, 1] and z [N, latent_dim], uniform in [-1, 1] -> images of the same shape.

    A linear layer makes a further channel of z.

    Args:
        shape: [C, S, S].
    """

    latent = "uniform"

    def __init__(self, shape: tuple[int, ...], width: int = 64, blocks: int = 6, latent_dim: int = 10,
                 norm_group: int = 16) -> None:
        super().__init__()
        self.shape, self.latent_dim = shape, latent_dim
        self.noise = nn.Linear(latent_dim, shape[1] * shape[2], bias=False)
        self.noise_norm = GroupedBatchNorm(shape[1] * shape[2], norm_group)
        self.layers = nn.Sequential(nn.Conv2d(shape[0] + 1, width, 3, 1, 1), nn.ReLU(),
                                    *(Block(width, norm_group) for _ in range(blocks)),
                                    nn.Conv2d(width, shape[0], 1), nn.Tanh())
        self.initialise(global_generator)

    def forward(self, images: Tensor, z: Tensor) -> Tensor:
        channel = relu(self.noise_norm(self.noise(z))).view(-1, 1, *self.shape[1:])
        return self.layers(torch.cat([images, channel], 1))

    def initialise(self, generator: Generators) -> None:
        small_normal(self, generator)


class Discriminator(nn.Module):
    """Images [N, C, S, S] in [-1, 1] -> logits [N], positive for real. Every layer's features have dropout and noise in
    training; layers of stride 2 follow until the shorter side has at most 4 px."""

    def __init__(self, shape: tuple[int, ...], width: int = 64, norm_group: int = 16) -> None:
        super().__init__()
        layers = [nn.Conv2d(shape[0], width, 3, 1, 1), nn.LeakyReLU(0.2), KeyedDropout(_DROPPED), KeyedNoise(_NOISE)]
        sides = shape[1:]
        while min(sides) > _LAST_SIDE:
            layers += [*_convolved(width, 2 * width, 2, norm_group), nn.LeakyReLU(0.2), KeyedDropout(_DROPPED),
                       KeyedNoise(_NOISE)]
            width, sides = 2 * width, [-(-side // 2) for side in sides]
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(width * math.prod(sides), 1))
        self.initialise(global_generator)

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images).squeeze(1)

    def initialise(self, generator: Generators) -> None:
        small_normal(self, generator)


class Classifier(nn.Module):
    """Images [N, C, S, S] in [-1, 1] -> logits [N, classes]: the published network for MNIST."""

    def __init__(self, shape: tuple[int, ...], classes: int = 10) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(shape[0], 32, 5, 1, 2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 48, 5, 1, 2), nn.ReLU(),
            nn.MaxPool2d(2), nn.Flatten(), nn.Linear(48 * (shape[1] // 4) * (shape[2] // 4), 100), nn.ReLU(),
            nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, classes))
        self.initialise(global_generator)

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)

    def initialise(self, generator: Generators) -> None:
        glorot_uniform(self, generator)


def _convolved(inputs: int, outputs: int, stride: int, norm_group: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), GroupedBatchNorm(outputs, norm_group, eps=1e-3)]
