"""LAPGAN's networks for CIFAR-10 (Denton et al., 2015, appendix A, and published code)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from scalegan.games.lapgan import pyramid
from scalegan.models.layers.dropout import KeyedDropout
from scalegan.models.layers.initial import Generators, global_generator

_DROPPED = 0.5


class BaseGenerator(nn.Module):
    """z [N, latent_dim] -> the coarsest images [N, C, S, S], from two hidden layers. Weights N(0, 0.05), biases 0."""

    def __init__(self, shape: Sequence[int], hidden: int = 8000, latent_dim: int = 100) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.layers = nn.Sequential(nn.Linear(latent_dim, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.Sigmoid(),
                                    nn.Linear(hidden, math.prod(shape)), nn.Unflatten(1, tuple(shape)))
        self.initialise(global_generator)

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z)

    def initialise(self, generator: Generators) -> None:
        _normal(self, generator, 0.05)


class BaseDiscriminator(nn.Module):
    """The coarsest images [N, C, H, W] -> logits [N]. Weights N(0, 0.005), biases 0."""

    def __init__(self, shape: Sequence[int], hidden: int = 1600) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        for inputs in (math.prod(shape), hidden):
            layers += [nn.Linear(inputs, hidden), nn.ReLU(), KeyedDropout(_DROPPED)]
        self.layers = nn.Sequential(*layers, nn.Linear(hidden, 1))
        self.initialise(global_generator)

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images).flatten()

    def initialise(self, generator: Generators) -> None:
        _normal(self, generator, 0.005)


class ResidualGenerator(nn.Module):
    """z [N, H * W], a plane of noise, and low-pass images l [N, C, H, W] -> high-pass images h [N, C, H, W]."""

    def __init__(self, shape: Sequence[int], width: int = 64) -> None:
        super().__init__()
        channels, *self.sides = shape
        self.latent_dim = math.prod(self.sides)
        self.layers = nn.Sequential(nn.Conv2d(channels + 1, width, 7, padding=3), nn.ReLU(),
                                    nn.Conv2d(width, width, 7, padding=3), nn.ReLU(),
                                    nn.Conv2d(width, channels, 5, padding=2))
        self.initialise(global_generator)

    def forward(self, z: Tensor, low: Tensor) -> Tensor:
        return self.layers(torch.cat([low, z.view(-1, 1, *self.sides).to(low.dtype)], 1))

    def initialise(self, generator: Generators) -> None:
        _uniform(self, generator)


class ResidualDiscriminator(nn.Module):
    """Images I = h + l [N, C, H, W] -> logits [N]. The published network adds h to l before its first layer, so h and l
    reach it as their sum alone."""

    def __init__(self, shape: Sequence[int], width: int = 64) -> None:
        super().__init__()
        channels, *sides = shape
        last = [(side - 4 - 5) // 2 + 1 for side in sides]      # px, behind convolutions without padding
        self.layers = nn.Sequential(nn.Conv2d(channels, width, 5), nn.ReLU(), nn.Conv2d(width, width, 5, 2), nn.ReLU(),
                                    nn.Flatten(), KeyedDropout(_DROPPED), nn.Linear(width * math.prod(last), 1))
        self.initialise(global_generator)

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images).flatten()

    def initialise(self, generator: Generators) -> None:
        _uniform(self, generator)


class Pyramid(nn.Module):
    """All levels' generators: z [N, latent_dim] -> images [N, C, H, W].

    z holds the base's latents, then a plane of noise for each finer level.

    Args:
        generators: from the finest, level 0, to the coarsest.
    """

    latent = "uniform"

    def __init__(self, generators: Sequence[nn.Module]) -> None:
        super().__init__()
        self.levels = nn.ModuleList(generators)
        self.latent_dim = sum(level.latent_dim for level in generators)

    def forward(self, z: Tensor, labels: Tensor | None = None, psi: float = 1.0) -> Tensor:
        if psi != 1.0:
            raise ValueError("LAPGAN has no truncation; leave psi at 1")
        return self.stages(z)[-1]

    def stages(self, z: Tensor) -> list[Tensor]:
        """Images of every level, from the coarsest to the finest: I_k = up(I_{k+1}) + G_k(z_k, up(I_{k+1}))."""
        base, *finer = reversed(self.levels)
        parts = iter(z.split([base.latent_dim, *(level.latent_dim for level in finer)], 1))
        images = [base(next(parts))]
        for level in finer:
            low = pyramid.up(images[-1])
            images.append(low + level(next(parts), low))
        return images


@torch.no_grad()
def _normal(network: nn.Module, generator: Generators, deviation: float) -> None:
    for name, parameter in network.named_parameters():
        if parameter.is_meta:
            continue
        if name.endswith("bias"):
            parameter.zero_()
        else:
            parameter.normal_(0, deviation, generator=generator(name))


@torch.no_grad()
def _uniform(network: nn.Module, generator: Generators) -> None:
    """Uniform within 1 / sqrt(inputs of a unit), weights and biases alike."""
    for place, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear) and not layer.weight.is_meta:
            bound = layer.weight[0].numel() ** -0.5
            for name, parameter in layer.named_parameters(place):
                parameter.uniform_(-bound, bound, generator=generator(name))
