"""Discriminators of patches: PatchGAN (Isola et al., 2017, appendix 6.1.2), at one scale or several (Wang et al., 2018,
section 3.2)."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalegan.models.layers.initial import Generators, global_generator, small_normal
from scalegan.models.layers.spatial_norm import has_bias
from scalegan.models.layers.spatial_norm import norm as norm_of


def field(layers: int) -> int:
    """Side of the patch that a logit sees: 1 px without strided layers; 16, 34, 70, 142, 286, 574 px with 1 to 6."""
    side = 1
    for stride in reversed([2] * layers + [1, 1] if layers else []):
        side = (side - 1) * stride + 4
    return side


def mean_logit(by_scale: Sequence[Tensor]) -> Tensor:
    """The mean [] of the means of each scale's logits [N, 1, h, w]."""
    return torch.stack([logits.mean() for logits in by_scale]).mean()


class Patches(nn.Module):
    """Images [N, inputs, H, W] -> logits [N, 1, h, w], one a patch.

    Args:
        layers: convolutions of stride two; with 0, all are 1x1, and a logit sees a single pixel ("PixelGAN").
        width: channels after the first, ndf in the published code.
        norm, norm_group: see `spatial_norm`; the first and last convolutions have none.
        biased: the first and last convolutions have a bias.
    """

    def __init__(self, inputs: int = 6, layers: int = 3, width: int = 64, norm: str = "batch",
                 norm_group: int | str = 1, biased: bool = True) -> None:
        super().__init__()
        bias = has_bias(norm)
        widths = [width * min(2**number, 8) for number in range(layers + 1)] if layers else [width, 2 * width]
        self.stages = nn.ModuleList()
        for number, channels in enumerate(widths):
            before = widths[number - 1] if number else inputs
            shape = (4, 2 if number < layers else 1, 1) if layers else (1, 1, 0)
            stage = [nn.Conv2d(before, channels, *shape, bias=bias or (biased and not number))]
            stage += [norm_of(norm, channels, norm_group)] if number else []
            self.stages.append(nn.Sequential(*stage, nn.LeakyReLU(0.2)))
        self.head = nn.Conv2d(widths[-1], 1, *((4, 1, 1) if layers else (1, 1, 0)),
                              bias=bias or (biased and bool(layers)))

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x)[-1]

    def features(self, x: Tensor) -> list[Tensor]:
        """The output of every layer, that of the last being the logits."""
        found = []
        for stage in [*self.stages, self.head]:
            x = stage(x)
            found.append(x)
        return found


class Discriminator(nn.Module):
    """Images [N, inputs, H, W] -> a list of logits [N, 1, h, w], one for each scale.

    Args:
        scales: equal networks; the first sees the images, each further one images of half the size of the last one's.
        sizes: those of `Patches`.
    """

    def __init__(self, inputs: int = 6, scales: int = 1, **sizes: Any) -> None:
        super().__init__()
        self.scales = nn.ModuleList(Patches(inputs, **sizes) for _ in range(scales))
        self.initialise(global_generator)

    def forward(self, x: Tensor) -> list[Tensor]:
        return [features[-1] for features in self.features(x)]

    def features(self, x: Tensor) -> list[list[Tensor]]:
        """By scale, the output of every layer."""
        found = []
        for number, patches in enumerate(self.scales):
            if number:
                x = F.avg_pool2d(x, 3, 2, 1, count_include_pad=False)
            found.append(patches.features(x))
        return found

    def initialise(self, generator: Generators) -> None:
        small_normal(self, generator)
