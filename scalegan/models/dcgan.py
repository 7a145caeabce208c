"""DCGAN (Radford, Metz & Chintala, 2016) for power-of-two resolutions from 16 to 256, with optional labels."""

import itertools
import math

import torch
from torch import Tensor, nn

from scalegan.models.layers.activation import ACTIVATIONS
from scalegan.models.layers.batchnorm import GroupedBatchNorm
from scalegan.models.layers.initial import Generators, global_generator
from scalegan.models.layers.labels import LabelEmbedding
from scalegan.models.layers.sides import BASE
from scalegan.models.layers.slicing import LastLayer
from scalegan.models.layers.virtual_batchnorm import VirtualBatchNorm

RESOLUTIONS = (16, 32, 64, 128, 256)


def _stages(resolution: int) -> int:
    """Doublings between 4 px and the resolution."""
    if resolution not in RESOLUTIONS:
        raise ValueError(f"DCGAN has resolutions {RESOLUTIONS}, not {resolution}")
    return resolution.bit_length() - 3


class Generator(nn.Module):
    """Transposed convolutions from z [N, latent_dim] to images [N, C, H, W] in [-1, 1] (figure 1 of the paper).

    At 64 px: 1 -> 4 -> 8 -> 16 -> 32 -> 64 px with 8w, 4w, 2w, w channels; higher resolutions double the widest stage.
    Labels, if the model has them, shift the channels after the first norm: there z's part of the features has unit
    variance, and no class can crowd it out. (Labels appended to z do: each class collapses to one image.)

    Args:
        resolution: 16, 32, 64, 128 or 256, along the shorter side.
        base: height and width of the first feature map, which is doubled; the shorter is 4.
        num_classes: 0 for none; `multilabel` says that labels are 0/1 vectors [N, num_classes], not indices [N].
        latent: the distribution z is drawn from in training, "normal" or "uniform".
        virtual: size of the reference batch of virtual batch normalisation, which then replaces BatchNorm in the
            generator; 0 for BatchNorm. The batch consists of fixed latents, saved with the weights.
        norm: whether there is BatchNorm; convolutions without it have biases.
        activation: a name in `ACTIVATIONS`.
    """

    def __init__(self, resolution: int = 64, channels: int = 3, width: int = 64, latent_dim: int = 100,
                 num_classes: int = 0, multilabel: bool = False, norm_group: int | str = 16,
                 latent: str = "normal", virtual: int = 0, norm: bool = True, activation: str = "relu",
                 base: tuple[int, int] = (BASE, BASE)) -> None:
        super().__init__()
        if virtual and num_classes:
            raise ValueError("virtual batch normalisation has a reference batch without labels; set data.labels=none")
        if virtual and not norm:
            raise ValueError("norm=none leaves no norm for a virtual batch; set model.virtual_batch=0")
        stages = _stages(resolution)
        self.latent_dim, self.latent, self.virtual, self.base = latent_dim, latent, virtual, base
        if virtual:
            self.register_buffer("reference", torch.zeros(virtual, latent_dim))

        def normed(width: int) -> nn.Module:
            if not norm:
                return nn.Identity()
            return VirtualBatchNorm(width, virtual) if virtual else GroupedBatchNorm(width, norm_group)

        widths = [width * 2**k for k in reversed(range(stages))]  # 64 px: 8w, 4w, 2w, w
        self.stem = nn.Sequential(nn.ConvTranspose2d(latent_dim, widths[0], base, 1, 0, bias=not norm),
                                  normed(widths[0]))  # [N, widths[0], *base]
        active = ACTIVATIONS[activation]
        layers: list[nn.Module] = [active()]
        for wide, narrow in itertools.pairwise(widths):
            layers += [nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=not norm), normed(narrow), active()]
        self.layers = nn.Sequential(*layers, nn.ConvTranspose2d(width, channels, 4, 2, 1, bias=False), nn.Tanh())
        self.embed = LabelEmbedding(num_classes, widths[0] * math.prod(base), multilabel) if num_classes else None
        self.initialise(global_generator)

    def forward(self, z: Tensor, labels: Tensor | None = None, psi: float = 1.0) -> Tensor:
        if psi != 1.0:
            raise ValueError("DCGAN has no truncation; leave psi at 1")
        if self.virtual:
            z = torch.cat([self.reference.to(z.dtype), z])
        convolution, norm = self.stem
        if torch.compiler.is_compiling():   # from 1 px, Inductor expects its gradient in another layout than cuDNN's
            h = (z @ convolution.weight.flatten(1)).unflatten(1, (-1, *self.base))
            h = norm(h if convolution.bias is None else h + convolution.bias[:, None, None])
        else:
            h = norm(convolution(z[:, :, None, None]))
        if self.embed is not None:
            h = h + self.embed(labels).view_as(h)
        return self.layers(h)[self.virtual :]

    def latent_weights(self) -> Tensor:
        """The weights by which z enters, [features, latent_dim]."""
        return self.stem[0].weight.flatten(1).T

    @torch.no_grad()
    def initialise(self, generator: Generators) -> None:
        _initialise(self, generator)
        if self.virtual and self.latent == "uniform":
            self.reference.uniform_(-1.0, 1.0, generator=generator("reference"))
        elif self.virtual:
            self.reference.normal_(generator=generator("reference"))


class Discriminator(nn.Module):
    """Strided convolutions from images [N, C, H, W] to logits [N]; w, 2w, 4w, 8w channels at 64 px.

    Labels, if the model has them, enter by projection: <e(y), h>, with h the last features (Miyato & Koyama, 2018).
    """

    def __init__(self, resolution: int = 64, channels: int = 3, width: int = 64, num_classes: int = 0,
                 multilabel: bool = False, norm_group: int | str = 16, norm: bool = True,
                 activation: str = "leaky_relu", base: tuple[int, int] = (BASE, BASE)) -> None:
        super().__init__()
        widths, active = [width * 2**k for k in range(_stages(resolution))], ACTIVATIONS[activation]
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1, bias=False), active()]
        for narrow, wide in itertools.pairwise(widths):
            layers += [nn.Conv2d(narrow, wide, 4, 2, 1, bias=not norm),
                       GroupedBatchNorm(wide, norm_group) if norm else nn.Identity(), active()]
        self.features = nn.Sequential(*layers)  # [N, widths[-1], *base]
        self.encoding_size = widths[-1] * math.prod(base)
        self.head = nn.Conv2d(widths[-1], 1, base, 1, 0, bias=False)
        self.embed = LabelEmbedding(num_classes, widths[-1], multilabel) if num_classes else None
        self.initialise(global_generator)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.classify(self.encode(x, labels), labels)

    def encode(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """The last features [N, channels, *base]."""
        return self.features(x)

    def classify(self, h: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits [N] from the last features."""
        logits = self.head(h).flatten()
        if self.embed is not None:
            logits = logits + (self.embed(labels) * h.mean((2, 3))).sum(1)
        return logits

    def last_layer(self, x: Tensor, labels: Tensor | None = None) -> list[LastLayer]:
        h, weights = self.encode(x, labels), self.head.weight
        if self.embed is not None:
            weights = weights + self.embed(labels)[:, :, None, None] / math.prod(h.shape[2:])
        return [LastLayer(h.flatten(1), weights.flatten(1))]

    def initialise(self, generator: Generators) -> None:
        _initialise(self, generator)


@torch.no_grad()
def _initialise(module: nn.Module, generator: Generators) -> None:
    """Convolutions N(0, 0.02), BatchNorm gains N(1, 0.02) and zero biases; section 3 of the paper and its code. Without
    norms to scale their outputs, convolutions start at N(0, 2 / fan_in) (He et al., 2015)."""
    gains = {id(m.weight) for m in module.modules() if isinstance(m, (GroupedBatchNorm, VirtualBatchNorm))}
    fans = {} if gains else {id(m.weight): _fan_in(m) for m in module.modules()
                             if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))}
    for name, parameter in module.named_parameters():
        if parameter.is_meta:
            continue
        if name.endswith("bias"):
            parameter.zero_()
        elif name.startswith("embed"):
            parameter.normal_(0.0, 1.0, generator=generator(name))
        elif id(parameter) in fans:
            parameter.normal_(0.0, math.sqrt(2 / fans[id(parameter)]), generator=generator(name))
        else:
            parameter.normal_(1.0 if id(parameter) in gains else 0.0, 0.02, generator=generator(name))


def _fan_in(convolution: nn.Conv2d | nn.ConvTranspose2d) -> float:
    """Inputs of an output; those of transposed convolutions share the kernel among stride^2 outputs, or, from a single
    pixel, among all."""
    height, width = convolution.kernel_size
    if not isinstance(convolution, nn.ConvTranspose2d):
        return convolution.in_channels * height * width
    return convolution.in_channels * (1 if convolution.padding == (0, 0) else height * width / convolution.stride[0]**2)
