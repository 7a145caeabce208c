"""RRDBNet of ESRGAN (Wang et al., 2018, section 3.1), with the pixel unshuffling of Real-ESRGAN (Wang et al., 2021)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalegan.models.layers.padding import repeat_edges

_RESIDUAL = 0.2         # share of a residual that is added
_SLOPE = 0.2            # of LeakyReLU
_CONVOLUTIONS = 5       # of a dense block
_DENSE = 3              # dense blocks of a residual-in-residual block


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, 1, 1)


class DenseBlock(nn.Module):
    """x + 0.2 conv(...): each convolution sees x and the outputs of all before it."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        outputs = [growth] * (_CONVOLUTIONS - 1) + [width]
        self.convs = nn.ModuleList(_conv(width + number * growth, wide) for number, wide in enumerate(outputs))

    def forward(self, x: Tensor) -> Tensor:
        *growing, last = self.convs
        seen = x
        for conv in growing:
            seen = torch.cat([seen, F.leaky_relu(conv(seen), _SLOPE)], 1)
        return x + _RESIDUAL * last(seen)


class Block(nn.Module):
    """Residual in residual: x + 0.2 dense(dense(dense(x)))."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(DenseBlock(width, growth) for _ in range(_DENSE)))

    def forward(self, x: Tensor) -> Tensor:
        return x + _RESIDUAL * self.layers(x)


class Generator(nn.Module):
    """Images [N, inputs, H, W] in [-1, 1] -> [N, outputs, scale H, scale W], nominally in [-1, 1], of any size.

    Inside, pixels are in [0, 1], as in the published code. With `unshuffle`, squares of that many pixels become
    channels first, and sides that it does not divide are padded by repeating the edge, and the answer is cropped.

    Args:
        scale: size of the answer, relative to the image; scale * unshuffle is a power of two.
        width: channels between blocks, nf in the published code; `growth`: channels that a convolution adds, gc.
        blocks: residual-in-residual dense blocks.

    Attributes:
        reach: radius of the receptive field, in pixels of the input.
        multiple: tiles of an image have the answers of the image if they start at multiples of it.
    """

    def __init__(self, inputs: int = 3, outputs: int = 3, scale: int = 4, unshuffle: int = 1, width: int = 64,
                 blocks: int = 23, growth: int = 32) -> None:
        super().__init__()
        self.scale, self.multiple = scale, unshuffle
        doublings = (scale * unshuffle).bit_length() - 1
        # The first convolution, the trunk, the one after it; and two pixels for all from the first enlargement on.
        self.reach = unshuffle * (1 + _CONVOLUTIONS * _DENSE * blocks + 1 + 2)
        self.first = _conv(inputs * unshuffle**2, width)
        self.trunk = nn.Sequential(*(Block(width, growth) for _ in range(blocks)))
        self.after = _conv(width, width)
        self.up = nn.ModuleList(_conv(width, width) for _ in range(doublings))
        self.high = _conv(width, width)
        self.last = _conv(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        height, width = (side * self.scale for side in x.shape[2:])
        x = F.pixel_unshuffle(repeat_edges(x, self.multiple) / 2 + 0.5, self.multiple)
        x = self.first(x)
        x = x + self.after(self.trunk(x))
        for conv in self.up:
            x = F.leaky_relu(conv(F.interpolate(x, scale_factor=2, mode="nearest")), _SLOPE)
        return self.last(F.leaky_relu(self.high(x), _SLOPE))[:, :, :height, :width] * 2 - 1
