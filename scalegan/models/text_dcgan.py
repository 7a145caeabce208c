"""DCGAN on text (Reed et al., 2016, section 4): a vector that describes the image joins z in G, and D's features.

Layers are those of the published code; at 64 px with width 128 and d_width 64 so are the sizes:

    G   text 1024 -> 128; z 100 + 128 -> 4 px 1024, residual; 8 px 512, residual; 16 px 256; 32 px 128; 64 px 3
    D   32 px 64; 16 px 128; 8 px 256; 4 px 512, residual; + 128 of text -> 4 px 512 -> 1

At other resolutions the widest maps are left out or doubled, as in DCGAN. The published code has no leaky ReLU after
D's third convolution, and the paper one after each; here there is one.
"""

import itertools
import math

import torch
from torch import Tensor, nn

from scalegan.models.layers.batchnorm import GroupedBatchNorm
from scalegan.models.layers.conditions import check_vectors
from scalegan.models.layers.initial import Generators, global_generator, small_normal
from scalegan.models.layers.sides import BASE
from scalegan.models.layers.slicing import LastLayer

RESOLUTIONS = (16, 32, 64, 128)
SLOPE = 0.2


def widths_of(resolution: int, width: int) -> list[int]:
    """Channels of the maps of half the resolution, a quarter, ... 4 px."""
    if resolution not in RESOLUTIONS:
        raise ValueError(f"text_dcgan has resolutions {RESOLUTIONS}, not {resolution}")
    return [width << number for number in range(resolution.bit_length() - 3)]


class Residual(nn.Module):
    """x + 1x1-3x3-3x3 convolutions with a quarter of the channels inside, all normalised: [N, C, H, W] -> the same."""

    def __init__(self, channels: int, norm_group: int | str, active: nn.Module) -> None:
        super().__init__()
        inner = channels // 4
        sizes = [(channels, inner, 1), (inner, inner, 3), (inner, channels, 3)]
        layers: list[nn.Module] = []
        for before, after, kernel in sizes:
            layers += [nn.Conv2d(before, after, kernel, padding=kernel // 2, bias=False),
                       GroupedBatchNorm(after, norm_group), active]
        self.layers, self.active = nn.Sequential(*layers[:-1]), active

    def forward(self, x: Tensor) -> Tensor:
        return self.active(x + self.layers(x))


class Generator(nn.Module):
    """z [N, latent_dim] and vectors [N, vector_dim] to images [N, C, H, W] in [-1, 1].

    Args:
        resolution: 16, 32, 64 or 128, along the shorter side.
        base: height and width of the first feature map, which is doubled; the shorter is 4.
        width: channels at half the resolution (ngf).
        vector_dim: length of the vectors; text_dim: length of what is made of them and joins z (nt).
        norm_group: see `GroupedBatchNorm`.
        latent: the distribution z is drawn from in training, "normal" or "uniform".
    """

    def __init__(self, resolution: int = 64, channels: int = 3, width: int = 128, latent_dim: int = 100,
                 vector_dim: int = 1024, text_dim: int = 128, norm_group: int | str = 16,
                 latent: str = "normal", base: tuple[int, int] = (BASE, BASE)) -> None:
        super().__init__()
        widths = widths_of(resolution, width)[::-1]
        self.latent_dim, self.latent, self.vector_dim, self.base = latent_dim, latent, vector_dim, base
        self.text = nn.Sequential(nn.Linear(vector_dim, text_dim), nn.LeakyReLU(SLOPE))
        self.stem = nn.ConvTranspose2d(latent_dim + text_dim, widths[0], base, bias=False)
        active = nn.ReLU()
        layers: list[nn.Module] = [GroupedBatchNorm(widths[0], norm_group), Residual(widths[0], norm_group, active)]
        for wide, narrow in itertools.pairwise(widths):
            layers += [nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=False), GroupedBatchNorm(narrow, norm_group),
                       Residual(narrow, norm_group, active) if wide == widths[0] else active]
        self.layers = nn.Sequential(*layers, nn.ConvTranspose2d(width, channels, 4, 2, 1, bias=False), nn.Tanh())
        self.initialise(global_generator)

    def forward(self, z: Tensor, labels: Tensor | None = None, psi: float = 1.0) -> Tensor:
        if psi != 1.0:
            raise ValueError("text_dcgan has no truncation; leave psi at 1")
        joined = torch.cat([z, self.text(check_vectors(labels, self.vector_dim, z.shape[0]))], 1)
        # From 1 px the transposed convolution is a matrix product, in every memory layout.
        return self.layers((joined @ self.stem.weight.flatten(1)).unflatten(1, (-1, *self.base)))

    def latent_weights(self) -> Tensor:
        """The weights by which z enters, [features, latent_dim]."""
        return self.stem.weight.flatten(1).T[:, : self.latent_dim]

    @torch.no_grad()
    def initialise(self, generator: Generators) -> None:
        """As DCGAN, but for the projection: of vectors of length 1, it makes features as large as z."""
        small_normal(self, generator)
        if not self.text[0].weight.is_meta:
            self.text[0].weight.normal_(generator=generator("text.0.weight"))


class Discriminator(nn.Module):
    """Images [N, C, H, W] and vectors [N, vector_dim] to logits [N] of their being a real pair.

    Arguments as for the generator; `width` is that of the first layer (ndf).
    """

    def __init__(self, resolution: int = 64, channels: int = 3, width: int = 64, vector_dim: int = 1024,
                 text_dim: int = 128, norm_group: int | str = 16, base: tuple[int, int] = (BASE, BASE)) -> None:
        super().__init__()
        widths, active = widths_of(resolution, width), nn.LeakyReLU(SLOPE)
        last, self.vector_dim = widths[-1], vector_dim
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1, bias=False), active]
        for narrow, wide in itertools.pairwise(widths):
            layers += [nn.Conv2d(narrow, wide, 4, 2, 1, bias=False), GroupedBatchNorm(wide, norm_group),
                       Residual(wide, norm_group, active) if wide == last else active]
        self.features, self.encoding_size = nn.Sequential(*layers), last * math.prod(base)    # [N, last, *base]
        self.text = nn.Sequential(nn.Linear(vector_dim, text_dim), GroupedBatchNorm(text_dim, norm_group), active)
        self.joint = nn.Sequential(nn.Conv2d(last + text_dim, last, 1, bias=False), GroupedBatchNorm(last, norm_group),
                                   active)
        self.head = nn.Conv2d(last, 1, base, bias=False)
        self.initialise(global_generator)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.classify(self.encode(x), labels)

    def encode(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Features of the images alone, [N, channels, *base]."""
        return self.features(x)

    def classify(self, h: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits [N] from these features and the vectors."""
        return self.head(self._joined(h, labels)).flatten()

    def last_layer(self, x: Tensor, labels: Tensor | None = None) -> list[LastLayer]:
        return [LastLayer(self._joined(self.encode(x), labels).flatten(1), self.head.weight.flatten(1))]

    def _joined(self, h: Tensor, vectors: Tensor | None) -> Tensor:
        text = self.text(check_vectors(vectors, self.vector_dim, len(h)))[:, :, None, None].expand(-1, -1, *h.shape[2:])
        return self.joint(torch.cat([h, text], 1))

    def initialise(self, generator: Generators) -> None:
        small_normal(self, generator)
