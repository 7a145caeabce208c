"""StarGAN's networks (Choi et al., 2018, tables 4 and 5): an image and the labels that it should have to an image, and
a discriminator that also tells the labels."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from scalegan.models.layers.conditions import check_labels, embed
from scalegan.models.layers.initial import Generators, fan_in_uniform, global_generator
from scalegan.models.layers.padding import repeat_edges
from scalegan.models.layers.sides import pair

MULTIPLE = 4        # two halvings
_MOST_LAYERS = 6
_LEAK = 0.01


class Block(nn.Module):
    """x + norm(conv(ReLU(norm(conv(x)))))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1, bias=False), _norm(width), nn.ReLU(),
                                    nn.Conv2d(width, width, 3, 1, 1, bias=False), _norm(width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class Generator(nn.Module):
    """Images [N, C, H, W] in [-1, 1] and their target labels -> images of that size; sides that four does not divide
    are padded by repeating the edge, and the answer is cropped.

    Labels are classes [N], or attributes [N, labels] between 0 and 1. Each is a constant plane beside the image, which
    is why convolutions pad with zeros: with a mirrored edge, instance norm would take a constant out again.

    Args:
        labels: number of classes or attributes.
        width: channels at full size.
        blocks: residual blocks at a quarter of the size.

    Attributes:
        scale, reach, multiple: as those of `unet.Generator`.
        names: of the labels, in order, where the data has names.
    """

    scale, reach, multiple = 1, None, MULTIPLE
    names: tuple[str, ...] = ()

    def __init__(self, channels: int = 3, labels: int = 5, width: int = 64, blocks: int = 6) -> None:
        super().__init__()
        self.labels = labels
        layers: list[nn.Module] = [nn.Conv2d(channels + labels, width, 7, 1, 3, bias=False), _norm(width), nn.ReLU()]
        for wide in (2 * width, 4 * width):
            layers += [nn.Conv2d(wide // 2, wide, 4, 2, 1, bias=False), _norm(wide), nn.ReLU()]
        layers += [Block(4 * width) for _ in range(blocks)]
        for narrow in (2 * width, width):
            layers += [nn.ConvTranspose2d(2 * narrow, narrow, 4, 2, 1, bias=False), _norm(narrow), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, channels, 7, 1, 3, bias=False), nn.Tanh())
        self.initialise(global_generator)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        height, width = x.shape[2:]
        x = repeat_edges(x, MULTIPLE)
        planes = embed(check_labels(labels, self.labels, x.shape[0]), torch.eye(self.labels, device=x.device))
        x = torch.cat([x, planes.to(x.dtype)[:, :, None, None].expand(-1, -1, *x.shape[2:])], 1)
        return self.layers(x)[:, :, :height, :width]

    def initialise(self, generator: Generators) -> None:
        fan_in_uniform(self, generator)


class Discriminator(nn.Module):
    """Images [N, C, H, W] -> source logits [N, 1, h, w], one a patch, and the labels' logits [N, labels].

    Args:
        resolution: side of squares, or height and width; multiples of 2^layers.
        layers: convolutions of stride two, each of twice the channels of the one before. By default as many as leave
            2 x 2 px or more, six at most: the published six for 128 and 256 px.
        width: channels of the first.

    Raises:
        ValueError: for a resolution that is not such a multiple.
    """

    def __init__(self, resolution: int | Sequence[int] = 128, channels: int = 3, labels: int = 5, width: int = 64,
                 layers: int | None = None) -> None:
        super().__init__()
        sides = pair(resolution)
        layers = layers or min(_MOST_LAYERS, max(1, int(math.log2(min(sides))) - 1))
        for side in sides:
            if side % 2**layers:
                raise ValueError(f"d_layers={layers} halves images to a fraction of a pixel: {side} px is not "
                                 f"a multiple of {2**layers}; set model.d_layers lower, or another data.resolution")
        stages: list[nn.Module] = []
        for number in range(layers):
            before = width << number - 1 if number else channels
            stages += [nn.Conv2d(before, width << number, 4, 2, 1), nn.LeakyReLU(_LEAK)]
        last = width << layers - 1
        self.features = nn.Sequential(*stages)
        self.source = nn.Conv2d(last, 1, 3, 1, 1, bias=False)
        self.labels = nn.Conv2d(last, labels, [side // 2**layers for side in sides], bias=False)
        self.initialise(global_generator)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.features(x)
        return self.source(features), self.labels(features).flatten(1)

    def initialise(self, generator: Generators) -> None:
        fan_in_uniform(self, generator)


class Classifier(nn.Module):
    """Images [N, C, H, W] in [-1, 1] -> the labels' logits [N, labels]."""

    def __init__(self, discriminator: Discriminator) -> None:
        super().__init__()
        self.D = discriminator

    def forward(self, images: Tensor) -> Tensor:
        return self.D(images)[1]


def _norm(width: int) -> nn.Module:
    """Over each image, with gains. The published code keeps running statistics too, but never uses them."""
    return nn.InstanceNorm2d(width, affine=True)
