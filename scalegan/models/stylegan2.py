"""StyleGAN2 (Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", 2020), 8 to 1024 px.

The networks of the paper's configuration F, with the conditioning of the official PyTorch versions (Karras et al.,
2020b), written from the papers: skip generator, residual discriminator (figure 7), weight demodulation (section 2.2).
A resolution `res` has min(channel_base / res, channel_max) channels:

    resolution             4    8   16   32   64  128  256  512 1024
    channel_base 32768   512  512  512  512  512  256  128   64   32
    channel_base 16384   512  512  512  512  256  128   64   32   16

Network settings of the published configurations:

    configuration               channel_base                mapping_layers  mbstd_group              D's architecture
    auto                        16384; 32768 from 512 px     2              min(batch per GPU, 4)    resnet
    stylegan2 (F)               32768                        8              4                        resnet
    paper256                    16384                        8              8                        resnet
    paper512                    32768                        8              8                        resnet
    paper1024                   32768                        8              4                        resnet
    cifar                       32768                        2             32                        orig

Under autocast the `num_half_res` highest resolutions (but none below 8 px) run in its dtype, and everything else
in fp32; `conv_clamp` keeps their activations in range. The networks are differentiable to any order.
"""

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalegan.models.layers.conditions import check_labels
from scalegan.models.layers.equalized import EqualizedConv2d, EqualizedLinear, fill_normal, initialise_layers
from scalegan.models.layers.half import half_dtype, wide_dtype, without_autocast
from scalegan.models.layers.initial import Generators, global_generator
from scalegan.models.layers.mbstd import minibatch_stddev
from scalegan.models.layers.modulated import NoiseSource, SynthesisLayer, ToRGB, modulated_conv2d, modulated_upconv2d
from scalegan.models.layers.resample import blur, downsample, upsample
from scalegan.models.layers.sides import BASE
from scalegan.models.layers.slicing import LastLayer
from scalegan.models.layers.tracked import Tracked

SQRT2 = math.sqrt(2)                # gain of a leaky ReLU
SQRT_HALF = math.sqrt(0.5)          # of each branch of a residual sum


def resolutions_up_to(resolution: int) -> list[int]:
    """4, 8, ... `resolution`."""
    if resolution not in (8, 16, 32, 64, 128, 256, 512, 1024):
        raise ValueError(f"StyleGAN2 makes images of 32, 64, 128, 256, 512 or 1024 pixels (8 and 16 for tests), "
                         f"not {resolution}: set data.resolution to one of these")
    return [2**i for i in range(2, resolution.bit_length())]


def widths(resolution: int, channel_base: int, channel_max: int) -> dict[int, int]:
    """Channels at each resolution: min(channel_base / res, channel_max)."""
    if channel_base < resolution:
        raise ValueError(f"a channel_base of {channel_base} leaves no channels at {resolution} px; set "
                         f"model.channel_base={resolution} or more")
    return {res: min(channel_base // res, channel_max) for res in resolutions_up_to(resolution)}


def half_resolutions(resolution: int, num_half_res: int) -> set[int]:
    """The `num_half_res` highest resolutions, but none below 8."""
    return {res for res in resolutions_up_to(resolution)[1:] if res > resolution >> num_half_res}


def attributes(labels: Tensor | None, num_classes: int, like: Tensor) -> Tensor | None:
    """Labels as rows to embed: classes [N] one-hot, attributes [N, K] as they are -> [N, K], or None.

    On a GPU, a class out of range ends in a device-side assertion: checking the values here would synchronise.
    """
    labels = check_labels(labels, num_classes, like.shape[0])
    if labels is None:
        return None
    return (labels if labels.is_floating_point() else F.one_hot(labels, num_classes)).to(like)


def normalised(x: Tensor) -> Tensor:
    """Each row scaled to a mean square of 1: [N, C] -> [N, C]."""
    return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()


class LabelMapping(nn.Module):
    """Maps labels, and a latent if there is one, to a style: (z [N, latent_dim], labels) -> [N, w_dim]."""

    def __init__(self, latent_dim: int, num_classes: int, w_dim: int, num_layers: int, lr_multiplier: float) -> None:
        super().__init__()
        self.latent_dim, self.num_classes = latent_dim, num_classes
        self.embed = EqualizedLinear(num_classes, w_dim) if num_classes else None
        features = [latent_dim + (w_dim if num_classes else 0)] + [w_dim] * num_layers
        self.layers = nn.ModuleList(EqualizedLinear(a, b, gain=SQRT2, lr_multiplier=lr_multiplier)
                                    for a, b in itertools.pairwise(features))

    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:
        if z.shape[1:] != (self.latent_dim,):
            raise ValueError(f"latents must have shape [N, {self.latent_dim}], not {list(z.shape)}")
        inputs = [normalised(z)] if self.latent_dim else []
        rows = attributes(labels, self.num_classes, like=z)
        if rows is not None:
            inputs.append(normalised(self.embed(rows)))
        x = torch.cat(inputs, dim=1)
        for layer in self.layers:
            x = layer.activated(x)
        return x


class Mapping(Tracked):
    """z to styles, one per layer (section 2): (z [N, latent_dim], labels) -> ws [N, num_ws, w_dim].

    `w_avg` is a moving average of w with decay `w_avg_beta` per update; `psi` below 1 moves styles towards it.
    """

    def __init__(self, latent_dim: int, num_classes: int, w_dim: int, num_ws: int, num_layers: int,
                 lr_multiplier: float, w_avg_beta: float) -> None:
        super().__init__()
        self.num_ws, self.w_avg_beta = num_ws, w_avg_beta
        self.statistics = {"w_avg": (w_dim,)}
        self.network = LabelMapping(latent_dim, num_classes, w_dim, num_layers, lr_multiplier)
        self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(self, z: Tensor, labels: Tensor | None = None, psi: float = 1.0) -> Tensor:
        with without_autocast(z):
            w = self.network(z.to(wide_dtype(self.network.layers[0].weight)), labels)
            if self.training:
                self.observe(w_avg=w.mean(0))
            if psi != 1:
                w = self.w_avg.to(w).lerp(w, psi)
            return w[:, None].repeat(1, self.num_ws, 1)         # fresh memory: style mixing writes into it

    @torch.no_grad()
    def advance(self, w_avg: Tensor) -> None:
        self.w_avg.lerp_(w_avg.to(self.w_avg), 1 - self.w_avg_beta)


class SynthesisBlock(nn.Module):
    """One resolution of the skip generator (figure 7b): features [N, in, H/2, W/2] -> [N, out, H, W], and its colours.

    The lowest, 4 px, has no conv0: it starts from the learned constant.
    """

    def __init__(self, resolution: int, in_channels: int, out_channels: int, channels: int, w_dim: int,
                 clamp: float | None, base: tuple[int, int]) -> None:
        super().__init__()
        layer = {"w_dim": w_dim, "resolution": [side * resolution // BASE for side in base], "clamp": clamp}
        if resolution > 4:
            self.conv0 = SynthesisLayer(f"{resolution}.conv0", modulated_upconv2d, in_channels, out_channels, **layer)
        self.conv1 = SynthesisLayer(f"{resolution}.conv1", modulated_conv2d, out_channels, out_channels, **layer)
        self.torgb = ToRGB(out_channels, channels, w_dim, clamp)

    def forward(self, x: Tensor, image: Tensor | None, styles: tuple[Tensor, ...],
                noise: NoiseSource | str) -> tuple[Tensor, Tensor]:
        *below, style, colour = styles
        if below:
            x = self.conv0(x, below[0], noise)
        x = self.conv1(x, style, noise)
        colours = self.torgb(x, colour).to(style.dtype)                 # images add up in full precision
        return x, colours if image is None else upsample(image) + colours


class Synthesis(nn.Module):
    """Styles to images: ws [N, num_ws, w_dim] -> [N, channels, H, W].

    A resolution has two styles for its convolutions (one at 4 px); its ToRGB shares the next resolution's first style.
    """

    def __init__(self, resolution: int, channels: int, w_dim: int, channel_base: int, channel_max: int,
                 conv_clamp: float | None, num_half_res: int, base: tuple[int, int] = (BASE, BASE)) -> None:
        super().__init__()
        width = widths(resolution, channel_base, channel_max)
        self.num_ws, self.w_dim = 2 * len(width), w_dim
        self.half_resolutions = half_resolutions(resolution, num_half_res)
        self.const = nn.Parameter(torch.empty(width[4], *base))
        self.blocks = nn.ModuleDict({
            str(res): SynthesisBlock(res, width.get(res // 2, 0), width[res], channels, w_dim, conv_clamp, base)
            for res in width})

    def initialise(self, generator: Generators) -> None:
        fill_normal(self.const, generator("const"))

    def noise_shapes(self) -> dict[str, tuple[int, int, int]]:
        """Shape [1, H, W] of a sample's noise in each layer that has any, by layer name."""
        return {layer.name: (1, *layer.sides) for layer in self.modules()
                if isinstance(layer, SynthesisLayer)}

    def forward(self, ws: Tensor, noise: NoiseSource | str = "random") -> Tensor:
        if ws.shape[1:] != (self.num_ws, self.w_dim):
            raise ValueError(f"styles must have shape [N, {self.num_ws}, {self.w_dim}], not {list(ws.shape)}")
        if not callable(noise) and noise not in ("random", "const", "none"):
            raise ValueError(f'noise must be "random", "const", "none" or a callable, not {noise!r}')
        wide, half = wide_dtype(self.const), half_dtype(ws)
        with without_autocast(ws):
            styles = ws.to(wide).unbind(1)
            x, image = self.const.expand(ws.shape[0], -1, -1, -1), None
            for i, (res, block) in enumerate(self.blocks.items()):
                dtype = half if half and int(res) in self.half_resolutions else wide
                x = x.to(dtype=dtype, memory_format=torch.channels_last)
                x, image = block(x, image, styles[max(2 * i - 1, 0):2 * i + 2], noise)
            return image


class Generator(nn.Module):
    """z [N, latent_dim] (and labels) -> images [N, channels, H, W], nominally in [-1, 1].

    `resolution` is the shorter side, 4 times a power of two; `base` the height and width of the learned constant, from
    which images are doubled.

    `mapping(z, labels, psi)` -> ws [N, num_ws, w_dim] and `synthesis(ws, noise)` -> images are the halves that style
    mixing and path length regularisation need.
    """

    def __init__(self, resolution: int, channels: int = 3, latent_dim: int = 512, num_classes: int = 0,
                 w_dim: int = 512, mapping_layers: int = 8, mapping_lr_multiplier: float = 0.01,
                 channel_base: int = 32768, channel_max: int = 512, conv_clamp: float | None = 256,
                 num_half_res: int = 4, w_avg_beta: float = 0.998, base: tuple[int, int] = (BASE, BASE)) -> None:
        super().__init__()
        self.resolution, self.latent_dim, self.num_classes = resolution, latent_dim, num_classes
        self.synthesis = Synthesis(resolution, channels, w_dim, channel_base, channel_max, conv_clamp, num_half_res,
                                   base)
        self.num_ws, self.latent = self.synthesis.num_ws, "normal"
        self.mapping = Mapping(latent_dim, num_classes, w_dim, self.num_ws, mapping_layers, mapping_lr_multiplier,
                               w_avg_beta)
        self.initialise(global_generator)

    def initialise(self, generator: Generators) -> None:
        initialise_layers(self, generator)

    def forward(self, z: Tensor, labels: Tensor | None = None, psi: float = 1.0,
                noise: NoiseSource | str = "random") -> Tensor:
        """`noise`: "random", "const" (the same planes always), "none", or a function (name, shape) -> Tensor."""
        return self.synthesis(self.mapping(z, labels, psi), noise)

    def latent_weights(self) -> Tensor:
        """The weights by which w enters, [features, w_dim]: those that make styles of all convolutions, one below the
        other. The layers that make colours are left out, as in SeFa's published code."""
        layers = [module.affine for module in self.synthesis.modules() if isinstance(module, SynthesisLayer)]
        return torch.cat([layer.weight * layer.weight_gain for layer in layers])


class DiscriminatorBlock(nn.Module):
    """One resolution (figure 7c, or 7a without the skip): [N, in, H, W] -> [N, out, H/2, W/2]."""

    def __init__(self, in_channels: int, out_channels: int, residual: bool, clamp: float | None) -> None:
        super().__init__()
        share = SQRT_HALF if residual else 1.0
        self.clamp, self.clamp_share = clamp, clamp and clamp * share
        self.conv0 = EqualizedConv2d(in_channels, in_channels, 3, padding=1, gain=SQRT2)
        self.conv1 = EqualizedConv2d(in_channels, out_channels, 3, stride=2, gain=SQRT2 * share)
        self.skip = EqualizedConv2d(in_channels, out_channels, 1, gain=share, bias=False) if residual else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv0.activated(x, self.clamp)
        y = self.conv1.activated(blur(y, padding=2), self.clamp_share)
        return y if self.skip is None else y + self.skip(downsample(x))


class Discriminator(nn.Module):
    """Images [N, channels, H, W] (and labels) -> logits [N]; `resolution` and `base` as the generator's.

    With labels the logit is the inner product of the image's features and the labels' mapping (Miyato & Koyama, 2018).
    The minibatch standard deviation is taken within the given samples, in groups of `mbstd_group`.
    """

    def __init__(self, resolution: int, channels: int = 3, num_classes: int = 0, architecture: str = "resnet",
                 channel_base: int = 32768, channel_max: int = 512, cmap_dim: int | None = None,
                 mapping_layers: int = 8, mapping_lr_multiplier: float = 0.01, mbstd_group: int = 4,
                 mbstd_channels: int = 1, conv_clamp: float | None = 256, num_half_res: int = 4,
                 base: tuple[int, int] = (BASE, BASE)) -> None:
        super().__init__()
        if architecture not in ("resnet", "orig"):
            raise ValueError(f'architecture must be "resnet" or "orig", not {architecture!r}')
        width = widths(resolution, channel_base, channel_max)
        self.resolution, self.channels, self.num_classes = resolution, channels, num_classes
        self.sides = tuple(side * resolution // BASE for side in base)
        self.mbstd_group, self.mbstd_channels, self.clamp = mbstd_group, mbstd_channels, conv_clamp
        self.half_resolutions = half_resolutions(resolution, num_half_res)
        self.fromrgb = EqualizedConv2d(channels, width[resolution], 1, gain=SQRT2)
        self.blocks = nn.ModuleDict({
            str(res): DiscriminatorBlock(width[res], width[res // 2], architecture == "resnet", conv_clamp)
            for res in sorted(width, reverse=True) if res > 4})
        self.conv = EqualizedConv2d(width[4] + mbstd_channels, width[4], 3, padding=1, gain=SQRT2)
        self.fc = EqualizedLinear(width[4] * math.prod(base), width[4], gain=SQRT2)
        cmap_dim = (cmap_dim or width[4]) if num_classes else 0
        self.mapping = LabelMapping(0, num_classes, cmap_dim, mapping_layers,
                                    mapping_lr_multiplier) if num_classes else None
        self.out = EqualizedLinear(width[4], cmap_dim or 1)
        self.initialise(global_generator)

    def initialise(self, generator: Generators) -> None:
        initialise_layers(self, generator)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        h = self._features(x)
        with without_autocast(h):
            features, cmap = self.out(h), self._mapped(h, labels)       # [N, cmap_dim], or [N, 1] without labels
            return features.squeeze(1) if cmap is None else (features * cmap).sum(1) / math.sqrt(cmap.shape[1])

    def last_layer(self, x: Tensor, labels: Tensor | None = None) -> list[LastLayer]:
        h, out = self._features(x), self.out
        with without_autocast(h):
            cmap = self._mapped(h, labels)
            if cmap is not None:
                return [LastLayer(out(h), cmap / math.sqrt(cmap.shape[1]))]
            return [LastLayer(h, out.weight * out.weight_gain, None if out.bias is None else out.bias * out.bias_gain)]

    def _features(self, x: Tensor) -> Tensor:
        """Images to the last features [N, C], in full precision."""
        shape = (self.channels, *self.sides)
        if x.shape[1:] != shape:
            raise ValueError(f"images must have shape [N, {', '.join(map(str, shape))}], not {list(x.shape)}")
        wide, half = wide_dtype(self.fc.weight), half_dtype(x)
        with without_autocast(x):
            dtype = half if half and self.half_resolutions else wide
            x = x.to(dtype=dtype, memory_format=torch.channels_last)
            x = self.fromrgb.activated(x, self.clamp)
            for res, block in self.blocks.items():
                x = block(x.to(half if half and int(res) in self.half_resolutions else wide))
            x = x.to(wide)
            if self.mbstd_channels:
                # In training, groups are consecutive samples, so that they do not depend on the micro-batch size.
                whole = not self.training or len(x) % self.mbstd_group  # a remainder is refused below
                blocks = (x,) if whole else x.split(self.mbstd_group)
                x = torch.cat([minibatch_stddev(block, self.mbstd_group, self.mbstd_channels) for block in blocks])
            return self.fc.activated(self.conv.activated(x, self.clamp).flatten(1))

    def _mapped(self, h: Tensor, labels: Tensor | None) -> Tensor | None:
        """The labels' mapping [N, cmap_dim], or None without labels."""
        if self.mapping is None:
            return attributes(labels, 0, like=h)                        # refuses labels
        return self.mapping(h.new_empty(h.shape[0], 0), labels)
