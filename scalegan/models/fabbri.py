"""U-Net from lightness to colour of a comparative study of losses (Fabbri, 2017, "Colorizing images using adversarial
networks"), as in its published code."""

import torch
from torch import Tensor, nn

from scalegan.models.layers.batchnorm import GroupedBatchNorm
from scalegan.models.layers.dropout import KeyedDropout
from scalegan.models.layers.initial import Generators, global_generator, small_normal
from scalegan.models.layers.padding import repeat_edges


class Generator(nn.Module):
    """Images [N, inputs, H, W] in [-1, 1] -> [N, outputs, H, W] in [-1, 1], of any size.

    It differs from pix2pix's U-Net in that the outermost features are not handed to the way up, whose outermost layer
    has twice as many channels instead; in BatchNorm at one pixel too, whose statistics are those of several images; in
    having no bias; and in enlarging by nearest neighbours before each 3x3 convolution. Other sizes are padded by
    repeating their edges, and the answer is cropped.

    The report has three layers with dropout, the code one, as here. In the code, BatchNorm takes the statistics of the
    batch and dropout draws at test time too, so that a photo's colours depend on the photos beside it; here, running
    statistics are used and dropout is off, so that it has one answer.

    Args:
        levels: halvings, at least 5, to one pixel at the resolution of training: 8 at 256 px, as published. Smaller
            resolutions leave out innermost ones.
        width: channels of the outermost features; the innermost have eight times as many.
        upsampling: "resize", or "transposed" for transposed 4x4 convolutions, which the code has as an option.
        norm_group: consecutive samples that share BatchNorm statistics; at least two.
        dropout: probability, in the innermost layer of the way up.

    Attributes:
        scale, reach, multiple: as those of `unet.Generator`.

    Raises:
        ValueError: for fewer levels.
    """

    scale = 1

    def __init__(self, inputs: int = 1, outputs: int = 2, levels: int = 8, width: int = 64, upsampling: str = "resize",
                 norm_group: int = 4, dropout: float = 0.5) -> None:
        super().__init__()
        if levels < 5:
            raise ValueError(f"the U-Net halves images five times or more, but data.resolution allows only {levels}; "
                             "set data.resolution=32 or more")
        self.multiple = 2**levels
        self.reach = 3 * (2**levels - 1)        # at each level, 2^level px on the way up and half of it on the way down
        widths = [width * min(2**level, 8) for level in range(levels)]
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for level, channels in enumerate(widths):
            stage = [nn.Conv2d(widths[level - 1] if level else inputs, channels, 4, 2, 1, bias=False)]
            stage += [GroupedBatchNorm(channels, norm_group)] if level else []
            self.down.append(nn.Sequential(*stage, nn.LeakyReLU(0.2)))
        before = 0
        for level in reversed(range(1, levels)):
            channels = max(widths[level - 1], 2 * width)
            stage = [*_enlarging(before + widths[level], channels, upsampling), GroupedBatchNorm(channels, norm_group),
                     nn.ReLU()]
            self.up.append(nn.Sequential(*stage, *([] if before or not dropout else [KeyedDropout(dropout)])))
            before = channels
        self.last = nn.Sequential(*_enlarging(before, outputs, upsampling), nn.Tanh())
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
            x = layers(torch.cat([x, skips.pop()], 1))
        return self.last(x)[:, :, :height, :width]

    def initialise(self, generator: Generators) -> None:
        small_normal(self, generator)


def _enlarging(inputs: int, outputs: int, upsampling: str) -> list[nn.Module]:
    if upsampling == "transposed":
        return [nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False)]
    return [nn.Upsample(scale_factor=2, mode="nearest"), nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False)]
