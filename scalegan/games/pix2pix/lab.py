"""Colour as G of a colorization game sees it, and the network that puts it back into a photo."""

import torch
from torch import Tensor, nn

from scalegan.data.colour import in_gamut, rgb_to_lab

_AB = 110.0         # |a*| and |b*| within sRGB are below it


def chroma(images: Tensor) -> Tensor:
    """a* / 110 and b* / 110, [N, 2, H, W], of images [N, 3, H, W] in [-1, 1]."""
    return rgb_to_lab(images / 2 + 0.5)[:, 1:] / _AB


class Colourised(nn.Module):
    """Lightness L* / 50 - 1, [N, 1, H, W] -> images [N, 3, H, W] in [-1, 1] of that lightness; colours out of gamut
    lose chroma, not lightness."""

    scale = 1       # size of the answer, relative to the image

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    @property
    def multiple(self) -> int:
        """As that of the generator."""
        return self.generator.multiple

    def forward(self, lightness: Tensor) -> Tensor:
        return in_gamut(torch.cat([(lightness + 1) * 50, self.chroma(lightness)], 1)) * 2 - 1

    def chroma(self, lightness: Tensor) -> Tensor:
        """a* and b*, [N, 2, H, W]."""
        return self.generator(lightness).float() * _AB
