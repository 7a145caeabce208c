"""The iterative GAN's networks (Ma et al., 2018, section 4): 5 x 5 kernels with stride 2, and BatchNorm.

G's first layer is printed as 8,584 units that become 5 x 5 x 512, which are 12,800, and its next map as 16 x 16, which
does not follow from 5 x 5; D ends in 5 x 5 too, for images of 128 px. The published code is for 80 px, a sixteenth of
which is 5. Here both networks meet at a sixteenth of the resolution: 8 x 8 x 512 at 128 px.
"""

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalegan.models.layers.batchnorm import GroupedBatchNorm
from scalegan.models.layers.conditions import check_labels
from scalegan.models.layers.initial import Generators, global_generator, small_normal_unit_gains

_LEAK = 0.2
_MULTIPLES = (1, 2, 4, 8)       # of the width, of feature maps from large to small
_REDUCTION = 2 ** len(_MULTIPLES)


def features(resolution: int, width: int = 64) -> int:
    """The number of values in the trunk's last feature map."""
    return _MULTIPLES[-1] * width * (resolution // _REDUCTION) ** 2


class Network(nn.Module):
    """Begins with weights N(0, 0.02), as DCGAN does."""

    def initialise(self, generator: Generators) -> None:
        small_normal_unit_gains(self, generator)


class Generator(Network):
    """z [N, latent_dim] and attributes [N, attributes] from 0 to 1, side by side, to images [N, C, R, R] in [-1, 1]."""

    latent = "uniform"

    def __init__(self, resolution: int, channels: int, attributes: int, latent_dim: int = 100, width: int = 64,
                 norm_group: int = 16) -> None:
        super().__init__()
        self.latent_dim, self.attributes = latent_dim, attributes
        widths, side = [multiple * width for multiple in reversed(_MULTIPLES)], resolution // _REDUCTION
        self.shape = (widths[0], side, side)
        self.stem = nn.Linear(latent_dim + attributes, widths[0] * side**2)
        layers: list[nn.Module] = [GroupedBatchNorm(widths[0], norm_group), nn.ReLU()]
        for wide, narrow in itertools.pairwise(widths):
            layers += [nn.ConvTranspose2d(wide, narrow, 5, 2, 2, 1), GroupedBatchNorm(narrow, norm_group), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.ConvTranspose2d(width, channels, 5, 2, 2, 1), nn.Tanh())
        self.initialise(global_generator)

    def forward(self, z: Tensor, labels: Tensor | None = None, psi: float = 1.0) -> Tensor:
        if psi != 1.0:
            raise ValueError("the iterative GAN has no truncation; leave psi at 1")
        labels = check_labels(labels, self.attributes, z.shape[0])
        return self.layers(self.stem(torch.cat([z, labels.to(z.dtype)], 1)).unflatten(1, self.shape))

    def latent_weights(self) -> Tensor:
        """The weights by which z enters, [features, latent_dim]."""
        return self.stem.weight[:, : self.latent_dim]


class Trunk(Network):
    """The convolutions that D and C share: images [N, C, R, R] to the feature map of each, from R / 2 to R / 16 px."""

    def __init__(self, channels: int, width: int = 64, norm_group: int = 16) -> None:
        super().__init__()
        widths = [channels, *(multiple * width for multiple in _MULTIPLES)]
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Conv2d(narrow, wide, 5, 2, 2),
                          GroupedBatchNorm(wide, norm_group) if place else nn.Identity(), nn.LeakyReLU(_LEAK))
            for place, (narrow, wide) in enumerate(itertools.pairwise(widths)))
        self.initialise(global_generator)

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = [images]
        for layer in self.layers:
            maps.append(layer(maps[-1]))
        return maps[1:]


class Head(Network):
    """D's own layer: the trunk's last feature map [N, 8w, R / 16, R / 16] to logits [N] of an image being real."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.out = nn.Linear(features, 1)
        self.initialise(global_generator)

    def forward(self, features: Tensor) -> Tensor:
        return self.out(features.flatten(1)).flatten()


class Recogniser(Network):
    """C's own layers: the trunk's last feature map to logits of the attributes [N, attributes], and to codes
    [N, latent_dim] in [-1, 1], the range of z."""

    def __init__(self, features: int, attributes: int, latent_dim: int = 100, hidden: int = 1024,
                 norm_group: int = 16) -> None:
        super().__init__()
        self.share, self.norm = nn.Linear(features, hidden), GroupedBatchNorm(hidden, norm_group)
        self.attributes, self.code = nn.Linear(hidden, attributes), nn.Linear(hidden, latent_dim)
        self.initialise(global_generator)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        h = F.leaky_relu(self.norm(self.share(features.flatten(1))), _LEAK)
        return self.attributes(h), self.code(h).tanh()


class Recognise(nn.Module):
    """Images [N, C, R, R] to the probability of each attribute [N, attributes]."""

    def __init__(self, trunk: Trunk, recogniser: Recogniser) -> None:
        super().__init__()
        self.trunk, self.C = trunk, recogniser

    def forward(self, images: Tensor) -> Tensor:
        return self.both(images)[0]

    def both(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities of the attributes [N, attributes], and codes [N, latent_dim]."""
        logits, code = self.C(self.trunk(images)[-1])
        return logits.sigmoid(), code


class Encode(Recognise):
    """Images [N, C, R, R] to codes [N, latent_dim] in [-1, 1]."""

    def forward(self, images: Tensor) -> Tensor:
        return self.both(images)[1]


class Rebuild(Recognise):
    """Images [N, C, R, R] to what G makes of their codes and attributes.

    Without `attributes` [N, attributes], from 0 to 1, those that C recognises.
    """

    def __init__(self, trunk: Trunk, recogniser: Recogniser, generator: Generator) -> None:
        super().__init__(trunk, recogniser)
        self.G = generator

    def forward(self, images: Tensor, attributes: Tensor | None = None) -> Tensor:
        recognised, code = self.both(images)
        return self.G(code, recognised if attributes is None else attributes)
