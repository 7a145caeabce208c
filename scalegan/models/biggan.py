"""BigGAN: residual networks, class-conditional BatchNorm, projection, spectral norm, attention (Brock et al., 2019).

The architecture is that of ajbrock/BigGAN-PyTorch, whose details differ from the paper's appendix here and there.
"""

import math
from collections.abc import Sequence
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
from scalegan.models.layers.convolution import add_upsampled, conv2d_then_mean, nearest_then_conv2d
from scalegan.models.layers.initial import global_generator
from scalegan.models.layers.spectral import Conv2d, Embedding, Linear


class Preset(NamedTuple):
    """Defaults at a resolution, from the launch scripts, the TF-Hub models (256, 512) and the CIFAR script."""

    width: int                                          # channels are multiples of it
    latent_dim: int
    shared_dim: int                                     # of the class embedding; 0: one embedding per norm
    hierarchical: bool
    attention: tuple[int, ...]                          # resolutions


PRESETS = {
    32: Preset(64, 128, 0, False, ()),
    64: Preset(64, 100, 128, True, (32,)),
    128: Preset(96, 120, 128, True, (64,)),
    256: Preset(96, 140, 128, True, (128,)),
    512: Preset(96, 128, 128, True, (64,)),
}


class GeneratorBlock(nn.Module):
    """norm-ReLU-upsample-conv3-norm-ReLU-conv3, plus a 1x1 shortcut: [N, C, H, W] -> [N, O, 2H, 2W]."""

    def __init__(self, channels: int, out_channels: int, norm, **spectral) -> None:
        super().__init__()
        self.norm1, self.norm2 = norm(channels), norm(out_channels)
        self.conv1 = Conv2d(channels, out_channels, **spectral)
        self.conv2 = Conv2d(out_channels, out_channels, **spectral)
        self.shortcut = Conv2d(channels, out_channels, kernel=1, **spectral)

    def forward(self, x: Tensor, *condition: Tensor) -> Tensor:
        h = F.relu(self.norm1(x, *condition))
        h = nearest_then_conv2d(h, self.conv1.normed(), self.conv1.bias)
        h = self.conv2(F.relu(self.norm2(h, *condition)))
        return add_upsampled(h, self.shortcut(x))       # 1x1 and nearest upsampling commute; this order is cheaper


class DiscriminatorBlock(nn.Module):
    """(ReLU-)conv3-ReLU-conv3(-mean), plus a shortcut, 1x1 where the shape changes: [N, C, H, W] -> [N, O, H', W']."""

    def __init__(self, channels: int, out_channels: int, hidden: int, preactivation: bool, downsample: bool,
                 **spectral) -> None:
        super().__init__()
        self.preactivation, self.downsample = preactivation, downsample
        self.conv1 = Conv2d(channels, hidden, **spectral)
        self.conv2 = Conv2d(hidden, out_channels, **spectral)
        learnable = channels != out_channels or downsample
        self.shortcut = Conv2d(channels, out_channels, kernel=1, **spectral) if learnable else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.relu(x) if self.preactivation else x)      # not in place: the shortcut takes x as it is
        h = F.relu(h)
        if not self.downsample:
            return self.conv2(h) + self.shortcut(x)
        h = conv2d_then_mean(h, self.conv2.normed(), self.conv2.bias)
        return h + self.shortcut(F.avg_pool2d(x, 2))                # 1x1 and mean commute; this order is cheaper


class Generator(BlockGenerator):
    """Latents and classes to images.

    Args:
        resolution: 32, 64, 128, 256 or 512; selects the preset for arguments left at None.
        base: height and width of the first feature map; the shorter is 4, and `resolution` is the image's shorter side.
        num_classes: 0 for an unconditional generator, whose norms then have plain gains.
        width: "ch"; channels are the multiples of `G_CHANNELS`.
        latent_dim: rounded down to a multiple of the number of chunks if the latent is hierarchical.
        shared_dim: size of the class embedding that all norms share; 0 gives each norm gains and biases per class.
        hierarchical: the first chunk of z makes the first feature map, the i-th one joins the condition of block i.
        attention: resolutions whose block is followed by self-attention.
        init: "orthogonal", or "normal" for N(0, 0.02).
        spectral: normalise every weight except the embeddings'.
        latent: the distribution z is drawn from in training, "normal" or "uniform".
        bn_eps: eps of the conditional norms; the last norm uses 1e-5 as in the reference.
    """

    def __init__(self, resolution: int = 128, channels: int = 3, width: int | None = None, num_classes: int = 0,
                 latent_dim: int | None = None, shared_dim: int | None = None, hierarchical: bool | None = None,
                 attention: Sequence[int] | None = None, init: str = "orthogonal", norm_group: int | str = 16,
                 spectral: bool = True, bn_eps: float = 1e-5, sn_eps: float = 1e-6, latent: str = "normal",
                 base: tuple[int, int] = (BOTTOM, BOTTOM)) -> None:
        super().__init__()
        check_resolution("BigGAN", "generator", resolution, G_CHANNELS)
        preset, table = PRESETS[resolution], G_CHANNELS[resolution]
        width = preset.width if width is None else width
        resolutions = tuple(2 * BOTTOM << i for i in range(len(table) - 1))
        attention = preset.attention if attention is None else attention
        check_attention(attention, resolutions)
        hierarchical = (preset.hierarchical and num_classes > 0) if hierarchical is None else hierarchical
        shared_dim = preset.shared_dim if shared_dim is None else shared_dim
        chunks = len(table) if hierarchical else 1
        self.chunk_dim = (preset.latent_dim if latent_dim is None else latent_dim) // chunks
        self.resolution, self.num_classes, self.latent_dim = resolution, num_classes, self.chunk_dim * chunks
        self.hierarchical, self.init, self.latent, self.base = hierarchical, init, latent, base
        if hierarchical and num_classes and not shared_dim:
            raise ValueError("a hierarchical latent needs the shared class embedding; set shared_dim, or "
                             "hierarchical=False")

        spectral_options = dict(spectral=spectral, eps=sn_eps)
        self.shared = Embedding(num_classes, shared_dim, spectral=False) if num_classes and shared_dim else None
        condition_dim = (shared_dim if self.shared is not None else 0) + (self.chunk_dim if hierarchical else 0)

        def norm(channels: int) -> nn.Module:
            if condition_dim:
                gain, bias = (Linear(condition_dim, channels, bias=False, **spectral_options) for _ in range(2))
            elif num_classes:
                gain, bias = (Embedding(num_classes, channels, spectral=False) for _ in range(2))
            else:
                return GroupedBatchNorm(channels, norm_group, bn_eps)
            return ConditionalBatchNorm(channels, gain, bias, norm_group, bn_eps)

        self.linear = Linear(self.chunk_dim, math.prod(base) * table[0] * width, **spectral_options)
        self.blocks, self.attention = nn.ModuleList(), nn.ModuleDict()
        for i, (before, after, size) in enumerate(zip(table, table[1:], resolutions)):
            self.blocks.append(GeneratorBlock(before * width, after * width, norm, **spectral_options))
            if size in attention:
                self.attention[str(i)] = SelfAttention(after * width, **spectral_options)
        self.norm = GroupedBatchNorm(table[-1] * width, norm_group)
        self.to_rgb = Conv2d(table[-1] * width, channels, **spectral_options)
        self.initialise(global_generator)

    def latent_weights(self) -> Tensor:
        """The weights by which z enters the first layer, [features, latent_dim]; zero for chunks of a hierarchical
        latent that enter further on."""
        return F.pad(self.linear.normed(), (0, self.latent_dim - self.chunk_dim))

    def _conditions(self, z: Tensor, labels: Tensor | None) -> tuple[Tensor, list[tuple[Tensor, ...]]]:
        shared = () if labels is None else (labels if self.shared is None else self.shared(labels),)
        if not self.hierarchical:
            return z, [shared] * len(self.blocks)
        first, *chunks = z.split(self.chunk_dim, 1)
        return first, [(torch.cat([*shared, chunk], 1),) for chunk in chunks]


class Discriminator(ProjectionDiscriminator):
    """Images and classes to logits: a residual network whose features are summed over pixels and projected.

    Args:
        resolution: 32, 64, 128 or 256 (the reference has no discriminator for 512).
        num_classes: 0 for an unconditional discriminator.
        width, attention, init, sn_eps: as the generator's.
        wide_blocks: a block's hidden width is that of its output, not of its input.
    """

    def __init__(self, resolution: int = 128, channels: int = 3, width: int | None = None, num_classes: int = 0,
                 attention: Sequence[int] | None = None, init: str = "orthogonal", wide_blocks: bool = True,
                 sn_eps: float = 1e-6, base: tuple[int, int] = (BOTTOM, BOTTOM)) -> None:
        super().__init__()
        check_resolution("BigGAN", "discriminator", resolution, D_CHANNELS)
        preset, table = PRESETS[resolution], D_CHANNELS[resolution]
        width = preset.width if width is None else width
        attention = preset.attention if attention is None else attention
        check_attention(attention, D_RESOLUTIONS[resolution])
        self.resolution, self.channels, self.num_classes, self.init = resolution, channels, num_classes, init
        self.sides = tuple(side * resolution // BOTTOM for side in base)

        self.blocks, self.attention, before = nn.ModuleList(), nn.ModuleDict(), channels
        layout = zip(table, D_DOWNSAMPLES[resolution], D_RESOLUTIONS[resolution])
        for i, (multiple, down, size) in enumerate(layout):
            after = multiple * width
            self.blocks.append(DiscriminatorBlock(before, after, hidden=after if wide_blocks else before,
                                                  preactivation=i > 0, downsample=down, eps=sn_eps))
            if size in attention:
                self.attention[str(i)] = SelfAttention(after, eps=sn_eps)
            before = after
        self.linear = Linear(before, 1, eps=sn_eps)
        self.embedding = Embedding(num_classes, before, eps=sn_eps) if num_classes else None
        self.initialise(global_generator)
