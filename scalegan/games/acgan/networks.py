"""D with two heads, and the networks of the appendix for CIFAR-10 (Odena, Olah & Shlens, 2017, table 2)."""

import itertools

import torch
from torch import Tensor, nn

from scalegan.models.layers.batchnorm import GroupedBatchNorm
from scalegan.models.layers.conditions import check_labels, embed
from scalegan.models.layers.dropout import KeyedDropout
from scalegan.models.layers.initial import Generators, global_generator, small_normal_unit_gains

_LEAK, _DROPPED = 0.2, 0.5
_G_WIDTHS = (384, 192, 96)
_D_WIDTHS = (16, 32, 64, 128, 256, 512)


class Classifying(nn.Module):
    """Images [N, C, H, W] to logits [N] and the labels' logits [N, labels], both linear in the last features.

    Args:
        discriminator: with `encoding_size`, `encode(x) -> f` and `classify(f) -> logits`; takes no labels.
        labels: number of classes or attributes.
    """

    def __init__(self, discriminator: nn.Module, labels: int) -> None:
        super().__init__()
        self.discriminator = discriminator
        self.labels = nn.Linear(discriminator.encoding_size, labels)
        self.initialise(global_generator)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.discriminator.encode(x)
        return self.discriminator.classify(features), self.labels(features.flatten(1))

    @torch.no_grad()
    def initialise(self, generator: Generators) -> None:
        """The head's weights N(0, 0.02), as the paper's, and its biases 0."""
        self.discriminator.initialise(generator)
        if not self.labels.weight.is_meta:
            self.labels.weight.normal_(0, 0.02, generator=generator("labels.weight"))
            self.labels.bias.zero_()


class Classifier(nn.Module):
    """Images [N, C, H, W] to the labels' logits [N, labels]."""

    def __init__(self, discriminator: Classifying) -> None:
        super().__init__()
        self.D = discriminator

    def forward(self, images: Tensor) -> Tensor:
        return self.D(images)[1]


class Generator(nn.Module):
    """z [N, latent_dim] and classes [N], as one-hot vectors beside z, to images [N, C, 32, 32] in [-1, 1].

    A linear layer to 384 channels of 4 x 4 px and three transposed convolutions, 5 x 5, stride 2. The table has 384
    units of 1 x 1 px, from which these do not lead to 32 px.
    """

    def __init__(self, channels: int = 3, latent_dim: int = 100, classes: int = 10, norm_group: int | str = 16,
                 latent: str = "normal") -> None:
        super().__init__()
        self.latent_dim, self.latent, self.classes = latent_dim, latent, classes
        self.stem = nn.Linear(latent_dim + classes, _G_WIDTHS[0] * 16)
        layers: list[nn.Module] = [nn.ReLU()]
        for wide, narrow in itertools.pairwise(_G_WIDTHS):
            layers += [nn.ConvTranspose2d(wide, narrow, 5, 2, 2, 1), GroupedBatchNorm(narrow, norm_group), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.ConvTranspose2d(_G_WIDTHS[-1], channels, 5, 2, 2, 1), nn.Tanh())
        self.initialise(global_generator)

    def forward(self, z: Tensor, labels: Tensor | None = None, psi: float = 1.0) -> Tensor:
        if psi != 1.0:
            raise ValueError("AC-GAN's generator has no truncation; leave psi at 1")
        one_hot = torch.eye(self.classes, dtype=z.dtype, device=z.device)
        z = torch.cat([z, embed(check_labels(labels, self.classes, z.shape[0]), one_hot)], 1)
        return self.layers(self.stem(z).unflatten(1, (-1, 4, 4)))

    def latent_weights(self) -> Tensor:
        """The weights by which z enters, [features, latent_dim]."""
        return self.stem.weight[:, : self.latent_dim]

    def initialise(self, generator: Generators) -> None:
        small_normal_unit_gains(self, generator)


class Discriminator(nn.Module):
    """Images [N, C, 32, 32] to logits [N]: six 3 x 3 convolutions, every other one with stride 2, each with dropout of
    one half behind it."""

    encoding_size = _D_WIDTHS[-1] * 16

    def __init__(self, channels: int = 3, norm_group: int | str = 16) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for place, (narrow, wide) in enumerate(itertools.pairwise((channels, *_D_WIDTHS))):
            layers += [nn.Conv2d(narrow, wide, 3, 1 + (place % 2 == 0), 1),
                       GroupedBatchNorm(wide, norm_group) if place else nn.Identity(),
                       nn.LeakyReLU(_LEAK), KeyedDropout(_DROPPED)]
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(self.encoding_size, 1)
        self.initialise(global_generator)

    def encode(self, x: Tensor) -> Tensor:
        """The last features [N, 512, 4, 4]."""
        return self.features(x)

    def classify(self, features: Tensor) -> Tensor:
        return self.head(features.flatten(1)).flatten()

    def initialise(self, generator: Generators) -> None:
        small_normal_unit_gains(self, generator)
