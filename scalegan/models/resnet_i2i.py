"""Residual generator from image to image, as in CycleGAN (Zhu et al., 2017, appendix 7.2; Johnson et al., 2016)."""

from torch import Tensor, nn

from scalegan.models.layers.dropout import KeyedDropout
from scalegan.models.layers.initial import Generators, global_generator, small_normal
from scalegan.models.layers.padding import ReflectionPad, repeat_edges
from scalegan.models.layers.spatial_norm import has_bias
from scalegan.models.layers.spatial_norm import norm as norm_of

MULTIPLE = 4        # two halvings
SMALLEST = 8        # px: below it, the blocks' maps are too small to be reflected at their edges


class Block(nn.Module):
    """x + conv(ReLU(conv(x))), with a norm after each convolution and no nonlinearity after the sum."""

    def __init__(self, width: int, norm: str, norm_group: int | str, dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = [ReflectionPad(1), nn.Conv2d(width, width, 3, bias=has_bias(norm)),
                                   norm_of(norm, width, norm_group), nn.ReLU()]
        layers += [KeyedDropout(dropout)] if dropout else []
        layers += [ReflectionPad(1), nn.Conv2d(width, width, 3, bias=has_bias(norm)),
                   norm_of(norm, width, norm_group)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class Generator(nn.Module):
    """Images [N, inputs, H, W] in [-1, 1] -> [N, outputs, H, W] in [-1, 1], of any size; sides that four does not
    divide, or of less than 8 px, are padded by repeating the edge, and the answer is cropped.

    Args:
        blocks: residual blocks at a quarter of the size: 6 for 128 px and 9 from 256 px on in the paper.
        width: channels at full size, ngf in the published code.
        norm, norm_group: see `spatial_norm`. Convolutions before a norm with gains have no bias.
        dropout: probability, inside each block.

    Attributes:
        scale, reach, multiple: as those of `unet.Generator`.
    """

    scale, multiple = 1, MULTIPLE

    def __init__(self, inputs: int = 3, outputs: int = 3, blocks: int = 9, width: int = 64, norm: str = "instance",
                 norm_group: int | str = 1, dropout: float = 0.0) -> None:
        super().__init__()
        # Two pixels of each block at a quarter of the size, and six of the layers at either end.
        self.reach = None if norm.startswith("instance") else 8 * blocks + 12
        bias = has_bias(norm)
        layers: list[nn.Module] = [ReflectionPad(3), nn.Conv2d(inputs, width, 7, bias=bias),
                                   norm_of(norm, width, norm_group), nn.ReLU()]
        for wide in (2 * width, 4 * width):
            layers += [nn.Conv2d(wide // 2, wide, 3, 2, 1, bias=bias), norm_of(norm, wide, norm_group), nn.ReLU()]
        layers += [Block(4 * width, norm, norm_group, dropout) for _ in range(blocks)]
        for narrow in (2 * width, width):
            layers += [nn.ConvTranspose2d(2 * narrow, narrow, 3, 2, 1, 1, bias=bias), norm_of(norm, narrow, norm_group),
                       nn.ReLU()]
        self.layers = nn.Sequential(*layers, ReflectionPad(3), nn.Conv2d(width, outputs, 7), nn.Tanh())
        self.initialise(global_generator)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        return self.layers(repeat_edges(x, MULTIPLE, SMALLEST))[:, :, :height, :width]

    def initialise(self, generator: Generators) -> None:
        small_normal(self, generator)
