"""BigGAN-deep: two bottleneck blocks at each resolution, and the whole z for each (Brock et al., 2019, appendix B).

The architecture is that of ajbrock/BigGAN-PyTorch (BigGANdeep.py). Skip connections have no weights of their own where
they can do without: G drops channels, D passes its own on and appends those that are missing.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalegan.models.layers.attention import SelfAttention
from scalegan.models.layers.batchnorm import GroupedBatchNorm
from scalegan.models.layers.biggan import (
    BOTTOM,
    D_CHANNELS,
    D_DOWNSAMPLES,
    D_RESOLUTIONS,
    G_CHANNELS,
    BlockGenerator,
    ProjectionDiscriminator,
    check_attention,
    check_resolution,
)
from scalegan.models.layers.conditional_norm import ConditionalBatchNorm
from scalegan.models.layers.convolution import add_upsampled, nearest_then_conv2d
from scalegan.models.layers.initial import global_generator
from scalegan.models.layers.spectral import Conv2d, Embedding, Linear

RATIO = 4                                               # of a block's outer to its inner channels


class Preset(NamedTuple):
    """Defaults at a resolution; z and the class embedding have 128 numbers at all of them."""

    width: int                                          # channels are multiples of it
    attention: tuple[int, ...]                          # resolutions


# 128 px from the launch script, 256 px from the paper's table 8. For the others nothing is published: as BigGAN's.
PRESETS = {
    32: Preset(64, ()),
    64: Preset(64, (32,)),
    128: Preset(128, (64,)),
    256: Preset(128, (64,)),
}


class GeneratorBlock(nn.Module):
    """norm-ReLU-conv, of kernels 1, 3, 3 and 1, plus the first channels of the input: [N, C, H, W] -> [N, O, H', W'].

    Where the block upsamples, it does so before the first 3x3 convolution, and the result is twice as large.
    """

    def __init__(self, channels: int, out_channels: int, norm: Callable[[int], nn.Module], upsample: bool,
                 **spectral) -> None:
        super().__init__()
        inner = _inner(channels)
        self.out_channels, self.upsample = out_channels, upsample
        self.norm1, self.norm2, self.norm3, self.norm4 = norm(channels), norm(inner), norm(inner), norm(inner)
        self.conv1 = Conv2d(channels, inner, kernel=1, **spectral)
        self.conv2 = Conv2d(inner, inner, **spectral)
        self.conv3 = Conv2d(inner, inner, **spectral)
        self.conv4 = Conv2d(inner, out_channels, kernel=1, **spectral)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        h = self.conv1(F.relu(self.norm1(x, condition)))
        h = F.relu(self.norm2(h, condition))
        h = nearest_then_conv2d(h, self.conv2.normed(), self.conv2.bias) if self.upsample else self.conv2(h)
        h = self.conv3(F.relu(self.norm3(h, condition)))
        h = self.conv4(F.relu(self.norm4(h, condition)))
        skip = x[:, : self.out_channels]
        return add_upsampled(h, skip) if self.upsample else h + skip


class DiscriminatorBlock(nn.Module):
    """ReLU-conv, of kernels 1, 3, 3 and 1, plus the input with a 1x1 convolution of it appended: [N, C, H, W] ->
    [N, O, H', W'].

    Where the block downsamples, it takes means over 2x2 pixels before its last convolution, and of the input.
    """

    def __init__(self, channels: int, out_channels: int, downsample: bool, **spectral) -> None:
        super().__init__()
        inner = _inner(out_channels)
        self.downsample = downsample
        self.conv1 = Conv2d(channels, inner, kernel=1, **spectral)
        self.conv2 = Conv2d(inner, inner, **spectral)
        self.conv3 = Conv2d(inner, inner, **spectral)
        self.conv4 = Conv2d(inner, out_channels, kernel=1, **spectral)
        missing = out_channels - channels
        self.shortcut = Conv2d(channels, missing, kernel=1, **spectral) if missing else None

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.relu(x))                                   # not in place: the shortcut takes x as it is
        h = self.conv3(F.relu(self.conv2(F.relu(h))))
        h = F.relu(h)
        if self.downsample:
            h, x = F.avg_pool2d(h, 2), F.avg_pool2d(x, 2)
        if self.shortcut is not None:
            x = torch.cat([x, self.shortcut(x)], 1)
        return self.conv4(h) + x


class Generator(BlockGenerator):
    """Latents and classes to images.

    Args:
        resolution: 32, 64, 128 or 256; selects the preset for arguments left at None.
        base: height and width of the first feature map; the shorter is 4, and `resolution` is the image's shorter side.
        num_classes: 0 for an unconditional generator, whose norms then depend on z alone.
        width: "ch"; channels are the multiples of `G_CHANNELS`.
        shared_dim: size of the class embedding; with z it is the input of the first layer and of every norm.
        depth: blocks of a stage, of which the last doubles the resolution and changes the number of channels.
        attention: resolutions whose last block is followed by self-attention.
        init, norm_group, spectral, bn_eps, sn_eps, latent: as BigGAN's.
    """

    def __init__(self, resolution: int = 128, channels: int = 3, width: int | None = None, num_classes: int = 0,
                 latent_dim: int = 128, shared_dim: int = 128, depth: int = 2,
                 attention: Sequence[int] | None = None, init: str = "orthogonal", norm_group: int | str = 16,
                 spectral: bool = True, bn_eps: float = 1e-5, sn_eps: float = 1e-6, latent: str = "normal",
                 base: tuple[int, int] = (BOTTOM, BOTTOM)) -> None:
        super().__init__()
        check_resolution("BigGAN-deep", "generator", resolution, PRESETS)
        preset, table = PRESETS[resolution], G_CHANNELS[resolution]
        width = preset.width if width is None else width
        resolutions = tuple(2 * BOTTOM << i for i in range(len(table) - 1))
        attention = preset.attention if attention is None else attention
        check_attention(attention, resolutions)
        self.resolution, self.num_classes, self.latent_dim = resolution, num_classes, latent_dim
        self.depth, self.init, self.latent, self.base = depth, init, latent, base

        options = dict(spectral=spectral, eps=sn_eps)
        self.shared = Embedding(num_classes, shared_dim, spectral=False) if num_classes else None
        condition_dim = latent_dim + (shared_dim if num_classes else 0)

        def norm(channels: int) -> nn.Module:
            gain, bias = (Linear(condition_dim, channels, bias=False, **options) for _ in range(2))
            return ConditionalBatchNorm(channels, gain, bias, norm_group, bn_eps)

        self.linear = Linear(condition_dim, math.prod(base) * table[0] * width, **options)
        self.blocks, self.attention = nn.ModuleList(), nn.ModuleDict()
        for before, after, size in zip(table, table[1:], resolutions):
            for _ in range(depth - 1):
                self.blocks.append(GeneratorBlock(before * width, before * width, norm, upsample=False, **options))
            self.blocks.append(GeneratorBlock(before * width, after * width, norm, upsample=True, **options))
            if size in attention:
                self.attention[str(len(self.blocks) - 1)] = SelfAttention(after * width, **options)
        self.norm = GroupedBatchNorm(table[-1] * width, norm_group)
        self.to_rgb = Conv2d(table[-1] * width, channels, **options)
        self.initialise(global_generator)

    def latent_weights(self) -> Tensor:
        """The weights by which z enters the first layer, [features, latent_dim]."""
        return self.linear.normed()[:, -self.latent_dim :]

    def _conditions(self, z: Tensor, labels: Tensor | None) -> tuple[Tensor, list[tuple[Tensor, ...]]]:
        condition = z if labels is None else torch.cat([self.shared(labels), z], 1)
        return condition, [(condition,)] * len(self.blocks)


class Discriminator(ProjectionDiscriminator):
    """Images and classes to logits: a residual network whose features are summed over pixels and projected.

    Args:
        resolution: 32, 64, 128 or 256.
        num_classes: 0 for an unconditional discriminator.
        depth: blocks of a stage, of which the first halves the resolution and changes the number of channels.
        width, attention, init, sn_eps: as the generator's.
    """

    def __init__(self, resolution: int = 128, channels: int = 3, width: int | None = None, num_classes: int = 0,
                 depth: int = 2, attention: Sequence[int] | None = None, init: str = "orthogonal",
                 sn_eps: float = 1e-6, base: tuple[int, int] = (BOTTOM, BOTTOM)) -> None:
        super().__init__()
        check_resolution("BigGAN-deep", "discriminator", resolution, PRESETS)
        preset, table = PRESETS[resolution], D_CHANNELS[resolution]
        width = preset.width if width is None else width
        stages = list(zip(table, table[1:], D_DOWNSAMPLES[resolution], D_RESOLUTIONS[resolution]))
        attention = preset.attention if attention is None else attention
        check_attention(attention, [size for *_, size in stages])
        self.resolution, self.channels, self.num_classes, self.init = resolution, channels, num_classes, init
        self.sides = tuple(side * resolution // BOTTOM for side in base)

        self.from_rgb = Conv2d(channels, table[0] * width, eps=sn_eps)
        self.blocks, self.attention = nn.ModuleList(), nn.ModuleDict()
        for before, after, down, size in stages:
            self.blocks.append(DiscriminatorBlock(before * width, after * width, down, eps=sn_eps))
            for _ in range(depth - 1):
                self.blocks.append(DiscriminatorBlock(after * width, after * width, downsample=False, eps=sn_eps))
            if size in attention:
                self.attention[str(len(self.blocks) - 1)] = SelfAttention(after * width, eps=sn_eps)
        self.linear = Linear(table[-1] * width, 1, eps=sn_eps)
        self.embedding = Embedding(num_classes, table[-1] * width, eps=sn_eps) if num_classes else None
        self.initialise(global_generator)

    def _entry(self, x: Tensor) -> Tensor:
        return self.from_rgb(x)


def _inner(channels: int) -> int:
    if channels < RATIO:
        raise ValueError(f"a block needs at least {RATIO} channels, not {channels}; increase model.width")
    return channels // RATIO
