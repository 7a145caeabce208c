"""SRVGGNetCompact, the small network of Real-ESRGAN (Wang et al., 2021; published with its code)."""

import torch.nn.functional as F
from torch import Tensor, nn


class Generator(nn.Module):
    """Images [N, C, H, W] in [-1, 1] -> [N, C, scale H, scale W], nominally in [-1, 1], of any size.

    Convolutions at the input's resolution, and a pixel shuffle, predict the difference from the nearest-neighbour
    enlargement. Inside, pixels are in [0, 1], as in the published code.

    Args:
        scale: size of the answer, relative to the image.
        width: channels, num_feat in the published code.
        layers: convolutions between the first and the last, num_conv in the published code.

    Attributes:
        reach: radius of the receptive field, in pixels of the input.
        multiple: tiles of an image have the answers of the image if they start at multiples of it.
    """

    multiple = 1

    def __init__(self, channels: int = 3, scale: int = 4, width: int = 64, layers: int = 16) -> None:
        super().__init__()
        self.scale, self.reach = scale, layers + 2
        stages: list[nn.Module] = []
        for before in (channels, *[width] * layers):
            stages += [nn.Conv2d(before, width, 3, 1, 1), nn.PReLU(width)]
        self.layers = nn.Sequential(*stages, nn.Conv2d(width, channels * scale**2, 3, 1, 1), nn.PixelShuffle(scale))

    def forward(self, x: Tensor) -> Tensor:
        x = x / 2 + 0.5
        return (self.layers(x) + F.interpolate(x, scale_factor=self.scale, mode="nearest")) * 2 - 1
