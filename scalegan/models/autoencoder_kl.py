"""The convolutional autoencoder with a Gaussian posterior of latent diffusion (Rombach et al., 2022, appendix G), with
the parameters' names of diffusers' `AutoencoderKL`, in which its weights are published.

A model of Stable Diffusion has widths 128, 256, 512, 512, two blocks per resolution and four latent channels: 83.65 M
parameters, of which 34.16 M encode. At each width but the last, images are halved.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalegan.models.layers.initial import Generators, fan_in_uniform_, global_generator

_EPS = 1e-6                     # of the norms
_LOG_VARIANCES = (-30.0, 20.0)  # to which posteriors are clamped
#: Names of an attention layer's matrices in files from before 2023, which may hold them as 1x1 convolutions.
_OLDER = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


@dataclass(frozen=True)
class Sizes:
    """What both halves are built from.

    Args:
        channels: of images.
        widths: channels at each resolution, from the highest down.
        layers: residual blocks at each resolution; the decoder has one more.
        latent_channels: of latents.
        groups: channel groups of the norms; no shape tells them.
        attention: self-attention between the blocks at the lowest resolution.
        quant: 1x1 convolutions on either side of latents.
    """

    channels: int = 3
    widths: tuple[int, ...] = (128, 256, 512, 512)
    layers: int = 2
    latent_channels: int = 4
    groups: int = 32
    attention: bool = True
    quant: bool = True

    def __post_init__(self) -> None:
        """Raises ValueError for widths that the groups do not divide."""
        if uneven := [width for width in self.widths if width % self.groups]:
            raise ValueError(f"{self.groups} groups of channels do not divide the width {uneven[0]}")

    @property
    def factor(self) -> int:
        """Side of an image relative to that of its latent."""
        return 2 ** (len(self.widths) - 1)


def sizes_of(weights: Mapping[str, Tensor], groups: int = 32) -> Sizes:
    """The sizes of a decoder's weights, or of both halves', by their `canonical` names.

    Raises:
        ValueError: if there is no such decoder.
    """
    blocks = {int(found[1]) for name in weights if (found := re.match(r"decoder\.up_blocks\.(\d+)\.", name))}
    layers = {int(found[1]) for name in weights if (found := re.match(r"decoder\.up_blocks\.0\.resnets\.(\d+)", name))}
    try:
        widths = tuple(weights[f"decoder.up_blocks.{block}.resnets.0.conv1.weight"].shape[0]
                       for block in sorted(blocks, reverse=True))
        return Sizes(weights["decoder.conv_out.weight"].shape[0], widths, len(layers) - 1,
                     weights["decoder.conv_in.weight"].shape[1], groups,
                     any(name.startswith("decoder.mid_block.attentions.") for name in weights),
                     "post_quant_conv.weight" in weights)
    except KeyError as error:
        raise ValueError(f"it has no {error.args[0]}") from error


def canonical(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of any age under today's names and shapes."""
    found = {}
    for name, tensor in weights.items():
        if ".attentions." in name:
            *place, layer, leaf = name.split(".")
            name = ".".join([*place, _OLDER.get(layer, layer), leaf])
            tensor = tensor.flatten(1) if tensor.dim() == 4 else tensor
        found[name] = tensor
    return found


def posterior(moments: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of latents, [N, C, h, w] each, from what an encoder returns, [N, 2C, h, w]."""
    mean, log_variance = moments.chunk(2, 1)
    return mean, (log_variance.clamp(*_LOG_VARIANCES) / 2).exp()


class Encoder(nn.Module):
    """Images [N, C, H, W] in [-1, 1] -> mean and logarithm of the variance of latents, [N, 2 latent_channels, H / f,
    W / f]; see `posterior`. The inner `encoder` is a name in files."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.encoder = _Inward(sizes)
        self.quant_conv = nn.Conv2d(2 * sizes.latent_channels, 2 * sizes.latent_channels, 1) if sizes.quant else None
        self.initialise(global_generator)

    def forward(self, images: Tensor) -> Tensor:
        moments = self.encoder(images)
        return moments if self.quant_conv is None else self.quant_conv(moments)

    def initialise(self, generator: Generators) -> None:
        _initialise(self, generator)


class Decoder(nn.Module):
    """Latents [N, latent_channels, h, w] -> images [N, C, f h, f w], nominally in [-1, 1].

    Args:
        scale, shift: of the latents it is given, (x - shift) * scale of those that its encoder makes.
    """

    def __init__(self, sizes: Sizes, scale: float = 1.0, shift: float = 0.0) -> None:
        super().__init__()
        self.sizes, self.scale, self.shift = sizes, scale, shift
        self.post_quant_conv = nn.Conv2d(sizes.latent_channels, sizes.latent_channels, 1) if sizes.quant else None
        self.decoder = _Outward(sizes)
        self.initialise(global_generator)

    def forward(self, latents: Tensor) -> Tensor:
        latents = latents / self.scale + self.shift
        return self.decoder(latents if self.post_quant_conv is None else self.post_quant_conv(latents))

    def initialise(self, generator: Generators) -> None:
        _initialise(self, generator)


class _Inward(nn.Module):
    """3x3 convolution, blocks and halvings, middle, and a convolution to twice the latent channels."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        first, last = sizes.widths[0], sizes.widths[-1]
        self.conv_in = nn.Conv2d(sizes.channels, first, 3, padding=1)
        self.down_blocks = nn.ModuleList(
            _Down(narrow, wide, sizes, halve=number < len(sizes.widths) - 1)
            for number, (narrow, wide) in enumerate(pairwise([first, *sizes.widths])))
        self.mid_block = _Middle(last, sizes)
        self.conv_norm_out = nn.GroupNorm(sizes.groups, last, _EPS)
        self.conv_out = nn.Conv2d(last, 2 * sizes.latent_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv_in(x)
        for block in self.down_blocks:
            h = block(h)
        return self.conv_out(F.silu(self.conv_norm_out(self.mid_block(h))))


class _Outward(nn.Module):
    """The mirror image, with one more block at each resolution."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        *_, last = widths = sizes.widths[::-1]
        self.conv_in = nn.Conv2d(sizes.latent_channels, widths[0], 3, padding=1)
        self.mid_block = _Middle(widths[0], sizes)
        self.up_blocks = nn.ModuleList(
            _Up(wide, narrow, sizes, double=number < len(widths) - 1)
            for number, (wide, narrow) in enumerate(pairwise([widths[0], *widths])))
        self.conv_norm_out = nn.GroupNorm(sizes.groups, last, _EPS)
        self.conv_out = nn.Conv2d(last, sizes.channels, 3, padding=1)

    def forward(self, latents: Tensor) -> Tensor:
        h = self.mid_block(self.conv_in(latents))
        for block in self.up_blocks:
            h = block(h)
        return self.conv_out(F.silu(self.conv_norm_out(h)))


class _Down(nn.Module):
    def __init__(self, inputs: int, outputs: int, sizes: Sizes, halve: bool) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(_residuals(inputs, outputs, sizes.layers, sizes.groups))
        if halve:
            self.downsamplers = nn.ModuleList([_Halve(outputs)])

    def forward(self, h: Tensor) -> Tensor:
        for layer in [*self.resnets, *getattr(self, "downsamplers", ())]:
            h = layer(h)
        return h


class _Up(nn.Module):
    def __init__(self, inputs: int, outputs: int, sizes: Sizes, double: bool) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(_residuals(inputs, outputs, sizes.layers + 1, sizes.groups))
        if double:
            self.upsamplers = nn.ModuleList([_Double(outputs)])

    def forward(self, h: Tensor) -> Tensor:
        for layer in [*self.resnets, *getattr(self, "upsamplers", ())]:
            h = layer(h)
        return h


class _Middle(nn.Module):
    """Two residual blocks, with attention between them."""

    def __init__(self, width: int, sizes: Sizes) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(_residuals(width, width, 2, sizes.groups))
        self.attentions = nn.ModuleList([_Attention(width, sizes.groups)] if sizes.attention else [])

    def forward(self, h: Tensor) -> Tensor:
        for layer in [self.resnets[0], *self.attentions, self.resnets[1]]:
            h = layer(h)
        return h


class _Residual(nn.Module):
    """x + conv(silu(norm(conv(silu(norm(x)))))), with a 1x1 convolution of x where the width changes."""

    def __init__(self, inputs: int, outputs: int, groups: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(groups, inputs, _EPS), nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm2, self.conv2 = nn.GroupNorm(groups, outputs, _EPS), nn.Conv2d(outputs, outputs, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))
        return h + (x if self.conv_shortcut is None else self.conv_shortcut(x))


def _residuals(inputs: int, outputs: int, layers: int, groups: int) -> Iterator[_Residual]:
    return (_Residual(outputs if number else inputs, outputs, groups) for number in range(layers))


class _Attention(nn.Module):
    """Self-attention over pixels with one head, added to its input."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.group_norm = nn.GroupNorm(groups, width, _EPS)
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, width) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.group_norm(x).flatten(2).transpose(1, 2)              # [N, HW, C]
        # Queries [N, 1, HW, C], with one head: fused kernels take four axes.
        heads = [layer(tokens)[:, None] for layer in (self.to_q, self.to_k, self.to_v)]
        mixed = self.to_out[0](F.scaled_dot_product_attention(*heads)[:, 0])
        return x + mixed.transpose(1, 2).unflatten(2, x.shape[2:])


class _Halve(nn.Module):
    """A 3x3 convolution of stride 2, padded below and to the right only."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, 2)

    def forward(self, h: Tensor) -> Tensor:
        return self.conv(F.pad(h, (0, 1, 0, 1)))


class _Double(nn.Module):
    """Nearest neighbours, then a 3x3 convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, h: Tensor) -> Tensor:
        return self.conv(F.interpolate(h, scale_factor=2.0, mode="nearest"))


@torch.no_grad()
def _initialise(module: nn.Module, generator: Generators) -> None:
    """torch's own initial weights, uniform in +-1 / sqrt(fan_in); norms start as the identity."""
    for name, part in module.named_modules():
        if isinstance(part, nn.GroupNorm) and not part.weight.is_meta:
            part.reset_parameters()
        elif isinstance(part, nn.Conv2d | nn.Linear) and not part.weight.is_meta:
            for leaf, parameter in part.named_parameters():
                fan_in_uniform_(parameter, part.weight[0].numel(), generator(f"{name}.{leaf}"))
