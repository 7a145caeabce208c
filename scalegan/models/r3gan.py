"""R3GAN: a residual network without normalisation, for the regularised relativistic loss (Huang et al., 2024).

Generator and discriminator mirror each other. The shapes of the published models, from the lowest resolution up:

    data                    resolution          4     8    16    32    64   128   256
    CIFAR-10                        32   768   768   768   768
    FFHQ-64                         64   768   768   768   768   384
    FFHQ-256                       256   768   768   768   768   384   192    96
    ImageNet-32                     32  1536  1536  1536  1536
    ImageNet-64                     64  1536  1536  1536  1536  1536

with two blocks at each resolution, whose grouped convolution has 96 groups (halved where the width halves).
"""

import contextlib
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalegan.models.layers.bottleneck import bottleneck
from scalegan.models.layers.conditions import check_labels, embed
from scalegan.models.layers.convolution import conv2d
from scalegan.models.layers.half import half_dtype, wide_dtype, without_autocast
from scalegan.models.layers.initial import Generators, global_generator
from scalegan.models.layers.piecewise import Tape, with_gradient
from scalegan.models.layers.resample import downsample, upsample
from scalegan.models.layers.sides import BASE
from scalegan.models.layers.slicing import LastLayer

#: Arguments of the published models; the conditional ones also take num_classes.
SHAPES = {
    "cifar10": dict(resolution=32),
    "ffhq64": dict(resolution=64),
    "ffhq256": dict(resolution=256),
    "imagenet32": dict(resolution=32, width=1536),
    "imagenet64": dict(resolution=64, width=1536, full_width_until=64),
}

SLOPE = 0.2                                             # of the leaky ReLU
GAIN = math.sqrt(2 / (1 + SLOPE**2))                    # preserves the variance through it


def stage_widths(resolution: int, width: int, full_width_until: int) -> list[int]:
    """Channels at 4, 8, ... `resolution`: `width`, halved with every doubling past `full_width_until`."""
    if resolution < 4 or resolution & (resolution - 1):
        raise ValueError(f"R3GAN needs a resolution that is 4 times a power of two, not {resolution}")
    sizes = [4 << i for i in range(resolution.bit_length() - 2)]
    widths = [width // max(size // full_width_until, 1) for size in sizes]
    if not all(widths):
        raise ValueError(f"a width of {width} up to {full_width_until} px leaves no channels at {sizes[-1]} px; change "
                         "model.width or model.full_width_until")
    return widths


class _Layout:
    """The layout of both networks: widths, groups and blocks per stage, from 4 px up."""

    def __init__(self, resolution: int, width: int, full_width_until: int, cardinality: int,
                 widths: Sequence[int] | None, cardinalities: Sequence[int] | None, blocks: int | Sequence[int],
                 half_stages: int | None) -> None:
        self.widths = list(widths or stage_widths(resolution, width, full_width_until))
        stages = len(self.widths)
        self.cardinalities = list(cardinalities or (max(cardinality * w // self.widths[0], 1) for w in self.widths))
        self.blocks = [blocks] * stages if isinstance(blocks, int) else list(blocks)
        for name, given in (("widths", self.widths), ("cardinalities", self.cardinalities), ("blocks", self.blocks)):
            if 4 << (len(given) - 1) != resolution:
                raise ValueError(f"{resolution} px need {resolution.bit_length() - 2} stages, "
                                 f"but there are {len(given)} {name}")
        # The published models run the four highest resolutions in bf16, but never 4x4.
        half = min(4, stages - 1) if half_stages is None else half_stages
        self.half = [i >= stages - half for i in range(stages)]


class Convolution(nn.Module):
    """A convolution that keeps the size, with N(0, gain^2 / fan-in) weights: [N, C, H, W] -> [N, O, H, W].

    Its bias, if it has one, is that of the activation after it: the networks have no others.
    """

    def __init__(self, channels: int, out_channels: int, kernel: int = 1, groups: int = 1, gain: float = 1.0,
                 bias: bool = False) -> None:
        super().__init__()
        self.groups, self.gain, self.padding = groups, gain, kernel // 2
        self.weight = nn.Parameter(torch.empty(out_channels, channels // groups, kernel, kernel))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return conv2d(x, self.weight, self.bias, padding=self.padding, groups=self.groups)

    def taped(self, x: Tensor, tape: Tape, slope: float | None = None) -> Tensor:
        """The same by a tape's passes, followed by a leaky ReLU if there is a slope."""
        return tape.convolution(x, self.weight, self.bias, slope, self.padding, self.groups)


class ResidualBlock(nn.Module):
    """x + contract(act(mix(act(expand(x))))): 1x1, grouped 3x3, 1x1 (section 3.2 and figure 3 of the paper).

    Instead of normalisation, weights shrink with the depth L of the network as in Fixup (Zhang et al., 2019): gain
    L^(-1/4) in the first two layers, and zero in the last, so that every block starts as the identity.
    """

    def __init__(self, channels: int, cardinality: int, expansion: int, kernel: int, depth: int) -> None:
        super().__init__()
        inner, gain = channels * expansion, GAIN * depth**-0.25
        if kernel % 2 == 0:
            raise ValueError(f"a kernel of {kernel} would change the size of the features; set model.kernel to an odd "
                             "number")
        if inner % cardinality:
            raise ValueError(f"{inner} channels cannot be divided into {cardinality} groups; change model.cardinality")
        self.expand = Convolution(channels, inner, gain=gain, bias=True)
        self.mix = Convolution(inner, inner, kernel, groups=cardinality, gain=gain, bias=True)
        self.contract = Convolution(inner, channels, gain=0.0)

    def forward(self, x: Tensor) -> Tensor:
        weights = self.expand.weight, self.mix.weight, self.contract.weight
        return bottleneck(x, weights, (self.expand.bias, self.mix.bias), SLOPE, self.mix.groups)

    def taped(self, x: Tensor, tape: Tape) -> Tensor:
        y = self.mix.taped(self.expand.taped(x, tape, SLOPE), tape, SLOPE)
        return self.contract.taped(y, tape).add_(x)


class _Stage(nn.Sequential):
    """Blocks at one resolution."""

    def taped(self, x: Tensor, tape: Tape) -> Tensor:
        for block in self:
            x = block.taped(x, tape)
        return x


class _Same(nn.Identity):
    """In place of a convolution, where the width stays."""

    def taped(self, x: Tensor, tape: Tape) -> Tensor:
        return x


class Generator(nn.Module):
    """Latents and classes to images.

    Args:
        resolution: 4 times a power of two, along the shorter side.
        base: height and width of the basis, from which images are doubled; the shorter is 4.
        num_classes: 0 for an unconditional generator.
        width, full_width_until, cardinality: see `stage_widths`; groups shrink as the width does.
        widths, cardinalities: per stage, from 4 px up, instead of those three.
        blocks: blocks per stage.
        embedding_dim: size of the class embedding, which is concatenated with z.
        half_stages: number of highest resolutions that run in autocast's half precision; the others run in full
            precision.
        latent: the distribution z is drawn from in training, "normal" or "uniform".
    """

    def __init__(self, resolution: int = 256, channels: int = 3, width: int = 768, num_classes: int = 0,
                 latent_dim: int = 64, full_width_until: int = 32, cardinality: int = 96,
                 widths: Sequence[int] | None = None, cardinalities: Sequence[int] | None = None,
                 blocks: int | Sequence[int] = 2, expansion: int = 2, kernel: int = 3, embedding_dim: int = 64,
                 half_stages: int | None = None, latent: str = "normal", base: tuple[int, int] = (BASE, BASE)) -> None:
        super().__init__()
        layout = _Layout(resolution, width, full_width_until, cardinality, widths, cardinalities, blocks, half_stages)
        self.resolution, self.num_classes, self.latent_dim = resolution, num_classes, latent_dim
        self.latent, self.half = latent, layout.half
        depth = sum(layout.blocks)

        self.embedding = nn.Parameter(torch.empty(num_classes, embedding_dim)) if num_classes else None
        self.linear = nn.Parameter(torch.empty(layout.widths[0], latent_dim + (embedding_dim if num_classes else 0)))
        self.basis = nn.Parameter(torch.empty(layout.widths[0], *base))
        self.transitions, self.stages = nn.ModuleList(), nn.ModuleList()
        before = layout.widths[0]
        for after, cardinality, count in zip(layout.widths, layout.cardinalities, layout.blocks):
            self.transitions.append(Convolution(before, after) if before != after else nn.Identity())
            self.stages.append(nn.Sequential(
                *(ResidualBlock(after, cardinality, expansion, kernel, depth) for _ in range(count))))
            before = after
        self.to_rgb = Convolution(before, channels)
        self.initialise(global_generator)

    def initialise(self, generator: Generators) -> None:
        """Initialises every parameter from the random generator keyed by its name."""
        _initialise(self, generator, basis_std=1.0, embedding_gain=1.0)

    def forward(self, z: Tensor, labels: Tensor | None = None, psi: float = 1.0) -> Tensor:
        """[N, latent_dim], [N] or [N, K] -> [N, C, H, W], nominally in [-1, 1]."""
        if psi != 1:
            raise ValueError("R3GAN has no truncation; leave psi at 1")
        if z.dim() != 2 or z.shape[1] != self.latent_dim:
            raise ValueError(f"latents must be [N, {self.latent_dim}], not {list(z.shape)}")
        labels = check_labels(labels, self.num_classes, z.shape[0])
        with without_autocast(z):
            z = z.to(wide_dtype(self.linear))
            if labels is not None:
                z = torch.cat([z, embed(labels, self.embedding)], 1)
            x = self.basis * F.linear(z, self.linear)[:, :, None, None]          # [N, widths[0], *base]
        x = x.contiguous(memory_format=torch.channels_last)
        for i, (transition, stage) in enumerate(zip(self.transitions, self.stages)):
            x = _stage_type(x, self.half[i])
            with contextlib.nullcontext() if self.half[i] else without_autocast(x):
                x = stage(x if i == 0 else upsample(transition(x)))
        return self.to_rgb(x).to(wide_dtype(x))

    def latent_weights(self) -> Tensor:
        """The weights by which z enters, [features, latent_dim]."""
        return self.linear[:, : self.latent_dim]


class Discriminator(nn.Module):
    """Images and classes to logits; the generator's mirror image.

    Arguments as for the generator, with widths from 4 px up too. `embedding_dim` is the size of the class
    embedding in the projection (Miyato & Koyama, 2018), by default the number of channels at 4 px.
    """

    per_sample = True  # a logit depends on its own image alone: reals and fakes may share a pass
    differentiable = True   # it has `with_gradient`

    def __init__(self, resolution: int = 256, channels: int = 3, width: int = 768, num_classes: int = 0,
                 full_width_until: int = 32, cardinality: int = 96, widths: Sequence[int] | None = None,
                 cardinalities: Sequence[int] | None = None, blocks: int | Sequence[int] = 2, expansion: int = 2,
                 kernel: int = 3, embedding_dim: int | None = None, half_stages: int | None = None,
                 base: tuple[int, int] = (BASE, BASE)) -> None:
        super().__init__()
        layout = _Layout(resolution, width, full_width_until, cardinality, widths, cardinalities, blocks, half_stages)
        self.resolution, self.channels, self.num_classes = resolution, channels, num_classes
        self.sides = tuple(side * resolution // BASE for side in base)
        self.half, depth = layout.half[::-1], sum(layout.blocks)
        top_down = layout.widths[::-1]

        self.from_rgb = Convolution(channels, top_down[0])
        self.stages, self.transitions = nn.ModuleList(), nn.ModuleList()
        stages = zip(top_down, [*top_down[1:], top_down[-1]], layout.cardinalities[::-1], layout.blocks[::-1])
        for before, after, cardinality, count in stages:
            self.stages.append(_Stage(
                *(ResidualBlock(before, cardinality, expansion, kernel, depth) for _ in range(count))))
            self.transitions.append(Convolution(before, after) if before != after else _Same())
        features = (embedding_dim or top_down[-1]) if num_classes else 1
        self.basis = nn.Parameter(torch.empty(top_down[-1], *base))
        self.linear = nn.Parameter(torch.empty(features, top_down[-1]))
        self.embedding = nn.Parameter(torch.empty(num_classes, features)) if num_classes else None
        self.initialise(global_generator)

    def initialise(self, generator: Generators) -> None:
        """Initialises every parameter from the random generator keyed by its name."""
        # The basis is a depthwise 4x4 convolution with 16 inputs, or more of images that are not square; the projection
        # keeps the variance of a feature.
        _initialise(self, generator, basis_std=self.basis[0].numel()**-0.5, embedding_gain=self.linear.shape[0] ** -0.5)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """[N, C, H, W], [N] or [N, K] -> logits [N]."""
        return self._logits(self._trunk(x), labels)

    def with_gradient(self, x: Tensor, labels: Tensor | None = None, *, scale: float) -> tuple[Tensor, Tensor]:
        """[N, C, H, W], [N] or [N, K] -> logits [N], and `scale` times their gradient in x, [N, C, H, W]; both can be
        differentiated once, which takes no second derivatives of the network."""
        return with_gradient(self._trunk, lambda h: self._logits(h, labels), x, list(self.parameters()), scale)

    def last_layer(self, x: Tensor, labels: Tensor | None = None) -> list[LastLayer]:
        h, embedded = self._features(self._trunk(x)), self._embedded(labels, x)
        with without_autocast(h):
            return [LastLayer(h, self.linear) if embedded is None else LastLayer(F.linear(h, self.linear), embedded)]

    def _logits(self, h: Tensor, labels: Tensor | None) -> Tensor:
        """[N, widths[0], *base] -> [N]."""
        h, embedded = self._features(h), self._embedded(labels, h)
        with without_autocast(h):
            h = F.linear(h, self.linear)                                         # [N, embedding_dim] or [N, 1]
            return h[:, 0] if embedded is None else (h * embedded).sum(1)

    def _trunk(self, x: Tensor, tape: Tape | None = None) -> Tensor:
        """Images to [N, widths[0], *base]."""
        shape = (self.channels, *self.sides)
        if x.shape[1:] != shape:
            raise ValueError(f"images must be [N, {', '.join(map(str, shape))}], not {list(x.shape)}")
        h = x.contiguous(memory_format=torch.channels_last)
        last = len(self.stages) - 1
        call = (lambda module, x: module(x)) if tape is None else (lambda module, x: module.taped(x, tape))
        for i, (stage, transition) in enumerate(zip(self.stages, self.transitions)):
            h = _stage_type(h, self.half[i])
            with contextlib.nullcontext() if self.half[i] else without_autocast(h):
                h = call(stage, call(self.from_rgb, h) if i == 0 else h)
                h = h if i == last else call(transition, downsample(h))
        return h

    def _features(self, h: Tensor) -> Tensor:
        """[N, widths[0], *base] to the last features [N, widths[0]], in full precision."""
        with without_autocast(h):
            return (h.to(wide_dtype(h)) * self.basis).sum((2, 3))

    def _embedded(self, labels: Tensor | None, x: Tensor) -> Tensor | None:
        """The labels' embeddings [N, embedding_dim], or None without labels."""
        labels = check_labels(labels, self.num_classes, x.shape[0])
        with without_autocast(x):
            return None if labels is None else embed(labels, self.embedding)


def _initialise(model: nn.Module, generator: Generators, basis_std: float, embedding_gain: float) -> None:
    for name, module in model.named_modules():
        if isinstance(module, Convolution):
            fan_in = module.weight[0].numel()
            _normal(module.weight, module.gain * fan_in**-0.5, generator(f"{name}.weight"))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    _normal(model.basis, basis_std, generator("basis"))
    _normal(model.linear, model.linear.shape[1] ** -0.5, generator("linear"))
    if model.embedding is not None:
        _normal(model.embedding, embedding_gain * len(model.embedding) ** -0.5, generator("embedding"))


@torch.no_grad()
def _normal(parameter: Tensor, std: float, generator: torch.Generator | None) -> None:
    if std == 0:
        parameter.zero_()
    elif not parameter.is_meta:
        parameter.normal_(0.0, std, generator=generator)


def _stage_type(x: Tensor, half: bool) -> Tensor:
    """Casts x to the dtype a stage computes in: autocast's at high resolutions, full precision at the others."""
    asked = half_dtype(x) if half else None
    return x.to(asked or wide_dtype(x))
