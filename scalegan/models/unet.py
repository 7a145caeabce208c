"""U-Net from image to image, as in pix2pix (Isola et al., 2017, appendix 6.1.1)."""

import torch
from torch import Tensor, nn

from scalegan.models.layers.dropout import KeyedDropout
from scalegan.models.layers.initial import Generators, global_generator, small_normal
from scalegan.models.layers.padding import repeat_edges
from scalegan.models.layers.spatial_norm import has_bias
from scalegan.models.layers.spatial_norm import norm as norm_of

MAX_LEVELS, WITH_DROPOUT = 8, 3


def levels_of(resolution: int) -> int:
    """Halvings of the shorter side: 8 from 256 px on, 7 at 128, 6 at 64, 5 at 32."""
    return min(resolution.bit_length() - 1, MAX_LEVELS)


class Generator(nn.Module):
    """Images [N, inputs, H, W] in [-1, 1] -> [N, outputs, H, W] in [-1, 1], of any size.

    Strided convolutions halve the image `levels` times, to one pixel at the resolution of training; transposed ones
    double it again, and each takes the features of its size from the way down as well. Other sizes are padded by
    repeating their edges, and the answer is cropped.

    The innermost features have no norm: at one pixel per image it would set them to zero (the erratum of the paper).
    Dropout is where the paper has it, in the innermost three layers of the way up (junyanz's PyTorch code: from the
    second to the fourth); in training only, so that an image has one answer.

    Args:
        levels: at least 5.
        width: channels of the outermost features, ngf in the published code; the innermost have eight times as many.
        norm, norm_group: see `spatial_norm`. Convolutions before a norm with gains have no bias.
        dropout: probability.

    Attributes:
        scale: size of the answer, relative to the image.
        reach: radius of the receptive field in pixels; None if a norm takes statistics over the image.
        multiple: a tile of an image has the image's answer, but for `reach` pixels at its cuts, if it is cut at
            multiples of it.
    """

    scale = 1

    def __init__(self, inputs: int = 3, outputs: int = 3, levels: int = 8, width: int = 64, norm: str = "batch",
                 norm_group: int | str = 1, dropout: float = 0.5) -> None:
        super().__init__()
        if levels < 5:
            raise ValueError(f"a U-Net halves images five times or more, but data.resolution allows only {levels}; set "
                             "data.resolution=32 or more")
        self.levels, bias = levels, has_bias(norm)
        self.multiple = 2**levels
        # Three pixels of each level: two of its transposed convolution, one of its convolution.
        self.reach = None if norm.startswith("instance") else 3 * (2**levels - 1)
        widths = [width * min(2**level, 8) for level in range(levels)]
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for level, channels in enumerate(widths):
            before = widths[level - 1] if level else inputs
            layers: list[nn.Module] = [nn.LeakyReLU(0.2)] if level else []
            layers.append(nn.Conv2d(before, channels, 4, 2, 1, bias=bias))
            if 0 < level < levels - 1:
                layers.append(norm_of(norm, channels, norm_group))
            self.down.append(nn.Sequential(*layers))
        for level in reversed(range(1, levels)):
            channels, before = widths[level - 1], widths[level] * (1 if level == levels - 1 else 2)
            layers = [nn.ReLU(), nn.ConvTranspose2d(before, channels, 4, 2, 1, bias=bias),
                      norm_of(norm, channels, norm_group)]
            if dropout and levels - level <= WITH_DROPOUT and level > 3:
                layers.append(KeyedDropout(dropout))
            self.up.append(nn.Sequential(*layers))
        self.last = nn.Sequential(nn.ReLU(), nn.ConvTranspose2d(2 * width, outputs, 4, 2, 1), nn.Tanh())
        self.initialise(global_generator)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        x = repeat_edges(x, self.multiple)
        skips = []
        for layers in self.down:
            x = layers(x)
            skips.append(x)
        x = self.up[0](skips.pop())
        for layers in self.up[1:]:
            x = layers(torch.cat([skips.pop(), x], 1))
        return self.last(torch.cat([skips.pop(), x], 1))[:, :, :height, :width]

    def initialise(self, generator: Generators) -> None:
        small_normal(self, generator)
