"""3D-GAN's networks (Wu et al., 2016, section 3.1): 4 x 4 x 4 kernels, stride 2, BatchNorm, no biases.

At 64 voxels they are those of the paper. At 32 and 16 its widest maps are left out, so that both networks still meet
at 4 x 4 x 4.
"""

import itertools
from functools import partial

from torch import Tensor, nn

from scalegan.games.sampling import unit_cube
from scalegan.models.layers.batchnorm import GroupedBatchNorm
from scalegan.models.layers.initial import Generators, global_generator, small_normal_unit_gains

_LEAK = 0.2
_SMALLEST = 4       # side of the smallest feature map


def widths(resolution: int, width: int) -> list[int]:
    """Channels of the feature maps, from the largest map, of half the resolution, to that of 4 x 4 x 4."""
    halvings = (resolution // _SMALLEST).bit_length() - 1
    return [width << number for number in range(halvings)]


class Network(nn.Module):
    """Begins with weights N(0, 0.02), as DCGAN does; the paper does not say how."""

    def initialise(self, generator: Generators) -> None:
        small_normal_unit_gains(self, generator)


class Generator(Network):
    """z [N, latent_dim] to volumes [N, 1, R, R, R] in [0, 1], the probability that a voxel is filled.

    Args:
        latent: distribution of z: "unit", which is uniform in [0, 1]; "uniform", in [-1, 1]; or "normal".
    """

    def __init__(self, resolution: int, latent_dim: int = 200, width: int = 64, norm_group: int = 16,
                 latent: str = "unit") -> None:
        super().__init__()
        self.latent_dim, self.latent = latent_dim, partial(unit_cube, latent_dim) if latent == "unit" else latent
        channels = widths(resolution, width)[::-1]
        layers: list[nn.Module] = [nn.ConvTranspose3d(latent_dim, channels[0], _SMALLEST, bias=False)]
        for wide, narrow in itertools.pairwise([*channels, 1]):
            layers += [GroupedBatchNorm(wide, norm_group), nn.ReLU(),
                       nn.ConvTranspose3d(wide, narrow, 4, 2, 1, bias=False)]
        self.layers = nn.Sequential(*layers, nn.Sigmoid())
        self.initialise(global_generator)

    def forward(self, z: Tensor, labels: Tensor | None = None, psi: float = 1.0) -> Tensor:
        if psi != 1.0:
            raise ValueError("3D-GAN has no truncation; leave psi at 1")
        return self.layers(z[:, :, None, None, None])


class Convolution(nn.Module):
    """Halves the side of feature maps [N, C, S, S, S]; `norm_group=None` leaves out BatchNorm."""

    def __init__(self, narrow: int, wide: int, norm_group: int | None) -> None:
        super().__init__()
        self.conv = nn.Conv3d(narrow, wide, 4, 2, 1, bias=False)
        self.norm = nn.Identity() if norm_group is None else GroupedBatchNorm(wide, norm_group)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.leaky_relu(self.norm(self.conv(x)), _LEAK)


class Discriminator(Network):
    """Volumes [N, 1, R, R, R] in [0, 1] to logits [N] of their being real."""

    def __init__(self, resolution: int, width: int = 64, norm_group: int = 16) -> None:
        super().__init__()
        channels = widths(resolution, width)
        self.convolutions = nn.Sequential(
            Convolution(1, width, None),
            *(Convolution(narrow, wide, norm_group) for narrow, wide in itertools.pairwise(channels)))
        self.out = nn.Conv3d(channels[-1], 1, _SMALLEST, bias=False)
        self.initialise(global_generator)

    def forward(self, volumes: Tensor) -> Tensor:
        return self.out(self.convolutions(volumes)).flatten()
