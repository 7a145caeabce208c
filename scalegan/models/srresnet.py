"""SRResNet, and SRGAN's discriminator (Ledig et al., 2017, figure 4)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from scalegan.models.layers.batchnorm import GroupedBatchNorm
from scalegan.models.layers.initial import Generators, global_generator
from scalegan.models.layers.sides import pair

_SLOPE = 0.2                # of LeakyReLU in the discriminator
_EDGE = 9                   # kernel of the first and last convolution


class Block(nn.Module):
    """x + norm(conv(PReLU(norm(conv(x)))))."""

    def __init__(self, width: int, norm_group: int | str) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(width, width, 3, 1, 1, bias=False), GroupedBatchNorm(width, norm_group), nn.PReLU(),
            nn.Conv2d(width, width, 3, 1, 1, bias=False), GroupedBatchNorm(width, norm_group))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class Generator(nn.Module):
    """Images [N, C, H, W] in [-1, 1] -> [N, C, scale H, scale W], nominally in [-1, 1], of any size.

    Convolutions at the input's resolution; pixel shuffling doubles it at the end. As published, nothing bounds the
    output. A PReLU has a single weight, and convolutions before BatchNorm have no bias.

    Args:
        scale: 2 or 4.
        blocks: residual blocks.
        norm_group: consecutive samples that share BatchNorm statistics, or "batch"; see `GroupedBatchNorm`.
    """

    multiple = 1

    def __init__(self, channels: int = 3, scale: int = 4, width: int = 64, blocks: int = 16,
                 norm_group: int | str = 16) -> None:
        super().__init__()
        self.scale, doublings = scale, scale.bit_length() - 1
        self.first = nn.Sequential(nn.Conv2d(channels, width, _EDGE, 1, _EDGE // 2), nn.PReLU())
        self.blocks = nn.ModuleList(Block(width, norm_group) for _ in range(blocks))
        self.after = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1, bias=False), GroupedBatchNorm(width, norm_group))
        self.up = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, 4 * width, 3, 1, 1), nn.PixelShuffle(2), nn.PReLU())
            for _ in range(doublings))
        self.last = nn.Conv2d(width, channels, _EDGE, 1, _EDGE // 2)
        self.reach = math.ceil(_EDGE // 2 * (1 + 1 / scale) + 2 * blocks + 1 + sum(2.0**-k for k in range(doublings)))
        self.initialise(global_generator)

    def forward(self, x: Tensor) -> Tensor:
        x = skip = self.first(x)
        for block in self.blocks:
            x = block(x)
        x = skip + self.after(x)
        for layers in self.up:
            x = layers(x)
        return self.last(x)

    def initialise(self, generator: Generators) -> None:
        _initialise(self, generator, 0.25)


class Discriminator(nn.Module):
    """Images [N, C, H, W] -> logits [N]: eight convolutions, every second one of stride two, and two dense layers.

    Args:
        resolution: side of squares, or height and width; any, since each stride of two rounds up.
        norm_group: as in `Generator`; convolutions before BatchNorm have no bias.
    """

    def __init__(self, resolution: int | Sequence[int] = 96, channels: int = 3, width: int = 64,
                 norm_group: int | str = 16) -> None:
        super().__init__()
        self.stages = nn.ModuleList([nn.Sequential(nn.Conv2d(channels, width, 3, 1, 1), nn.LeakyReLU(_SLOPE))])
        before, sides = width, pair(resolution)
        for wide in (width, 2 * width, 4 * width, 8 * width):
            for stride in (1, 2) if wide > width else (2,):
                self.stages.append(nn.Sequential(nn.Conv2d(before, wide, 3, stride, 1, bias=False),
                                                 GroupedBatchNorm(wide, norm_group), nn.LeakyReLU(_SLOPE)))
                before, sides = wide, [-(-side // stride) for side in sides]
        self.head = nn.Sequential(nn.Linear(before * math.prod(sides), 16 * width), nn.LeakyReLU(_SLOPE),
                                  nn.Linear(16 * width, 1))
        self.initialise(global_generator)

    def forward(self, x: Tensor) -> Tensor:
        for stage in self.stages:
            x = stage(x)
        return self.head(x.flatten(1)).squeeze(1)

    def initialise(self, generator: Generators) -> None:
        _initialise(self, generator, _SLOPE)


@torch.no_grad()
def _initialise(network: nn.Module, generator: Generators, slope: float) -> None:
    """Weights N(0, 2 / ((1 + slope^2) fan_in)) (He et al., 2015, eq. 15), gains 1, zero biases, and PReLUs of that
    slope. The paper does not say what it starts from."""
    slopes = {id(module.weight) for module in network.modules() if isinstance(module, nn.PReLU)}
    for name, parameter in network.named_parameters():
        if parameter.is_meta:
            continue
        if name.endswith("bias"):
            parameter.zero_()
        elif parameter.dim() == 1:
            parameter.fill_(slope if id(parameter) in slopes else 1.0)
        else:
            deviation = math.sqrt(2 / ((1 + slope**2) * parameter[0].numel()))
            parameter.normal_(0.0, deviation, generator=generator(name))
