"""CoGAN's networks for 28 px (Liu & Tuzel, 2016, supplement, and published code)."""

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalegan.models.layers.batchnorm import GroupedBatchNorm
from scalegan.models.layers.initial import Generators, global_generator

FEATURES = 500
_STEM = 20
_SLOPE = 0.25


class Network(nn.Module):
    """Weights by Glorot & Bengio (2010), normal with gain sqrt(2); biases 0.1; slopes of PReLU 0.25."""

    @torch.no_grad()
    def initialise(self, generator: Generators) -> None:
        for name, parameter in self.named_parameters():
            if parameter.is_meta:
                continue
            if name.endswith("bias"):
                parameter.fill_(0.1)
            elif parameter.dim() > 1:
                nn.init.xavier_normal_(parameter, 2**0.5, generator(name))
            else:
                parameter.fill_(_SLOPE)


class SharedGenerator(Network):
    """The first layers of both generators: z [N, latent_dim] -> features [N, width / 8, 25, 25], by 4, 7 and 13 px."""

    def __init__(self, width: int = 1024, latent_dim: int = 100, latent: str = "normal", norm_group: int = 16) -> None:
        super().__init__()
        self.latent_dim, self.latent = latent_dim, latent
        widths = [latent_dim, width, width // 2, width // 4, width // 8]
        layers: list[nn.Module] = []
        for place, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
            kernel, stride, padding = (3, 2, 1) if place else (4, 1, 0)
            layers += [nn.ConvTranspose2d(inputs, outputs, kernel, stride, padding),
                       GroupedBatchNorm(outputs, norm_group, affine=False), nn.PReLU()]
        self.layers = nn.Sequential(*layers)
        self.initialise(global_generator)

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z[:, :, None, None])


class GeneratorHead(Network):
    """Features [N, width / 8, 25, 25] -> one domain's images [N, C, 28, 28] in [-1, 1]."""

    def __init__(self, channels: int = 1, width: int = 1024) -> None:
        super().__init__()
        self.out = nn.ConvTranspose2d(width // 8, channels, 6, 1, 1)
        self.initialise(global_generator)

    def forward(self, features: Tensor) -> Tensor:
        return 2 * self.out(features).sigmoid() - 1


class Generator(nn.Module):
    """One domain's generator: z [N, latent_dim] -> images [N, C, 28, 28] in [-1, 1]."""

    def __init__(self, shared: SharedGenerator, head: GeneratorHead) -> None:
        super().__init__()
        self.latent_dim, self.latent = shared.latent_dim, shared.latent
        self.shared, self.head = shared, head

    def forward(self, z: Tensor, labels: Tensor | None = None, psi: float = 1.0) -> Tensor:
        if psi != 1.0:
            raise ValueError("CoGAN has no truncation; leave psi at 1")
        return self.head(self.shared(z))


class DiscriminatorStem(Network):
    """One domain's images [N, C, 28, 28] in [-1, 1] -> features [N, 20, 12, 12], the discriminator's first layer."""

    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, _STEM, 5)
        self.initialise(global_generator)

    def forward(self, images: Tensor) -> Tensor:
        return F.max_pool2d(self.conv((images + 1) / 2), 2)


class SharedDiscriminator(Network):
    """Features [N, 20, 12, 12] of either domain's first layer -> last features [N, 500] and logits [N].

    The last layer has two outputs, for real and fake, as the published one: their difference is the logit.

    Args:
        classes: outputs of a classifier of the same last features; 0 for none.
    """

    def __init__(self, classes: int = 0) -> None:
        super().__init__()
        self.convs = nn.Sequential(nn.Conv2d(_STEM, 50, 5), nn.MaxPool2d(2), nn.Conv2d(50, FEATURES, 4), nn.PReLU(),
                                   nn.Flatten())
        self.out = nn.Linear(FEATURES, 2)
        self.classes = nn.Linear(FEATURES, classes) if classes else None
        self.initialise(global_generator)

    def forward(self, stem: Tensor) -> tuple[Tensor, Tensor]:
        features = self.convs(stem)
        fake, real = self.out(features).unbind(1)
        return features, real - fake


class Classifier(nn.Module):
    """One domain's images [N, C, 28, 28] -> logits of the first domain's classes [N, classes].

    Attributes:
        input_shape: (C, 28, 28).
    """

    def __init__(self, stem: DiscriminatorStem, shared: SharedDiscriminator) -> None:
        super().__init__()
        self.stem, self.shared = stem, shared
        self.input_shape = stem.conv.in_channels, 28, 28

    def forward(self, images: Tensor) -> Tensor:
        return self.shared.classes(self.shared(self.stem(images))[0])
