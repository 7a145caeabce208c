"""Encoder and decoder of an adversarial autoencoder, and the networks that a run exports of them."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalegan.games.aae.priors import Prior
from scalegan.models import mlp
from scalegan.models.layers.initial import Generators, global_generator
from scalegan.randomness import Draws


def without_output(discriminator: nn.Module) -> nn.Module:
    """The discriminator itself, whose output layer is gone: only its `encode` can be used."""
    if isinstance(discriminator, mlp.Discriminator):
        discriminator.layers[-1] = nn.Identity()
    else:
        discriminator.head = nn.Identity()
    return discriminator


class Encoder(nn.Module):
    """Samples [N, *shape] -> codes z [N, latent_dim], followed by logits of the class [N, classes] if there are any: a
    linear layer on the last features of a family's discriminator, without that discriminator's own output layer."""

    def __init__(self, trunk: nn.Module, latent_dim: int, classes: int = 0) -> None:
        super().__init__()
        self.latent_dim, self.trunk = latent_dim, without_output(trunk)
        self.head = nn.Linear(trunk.encoding_size, latent_dim + classes)
        self.initialise(global_generator)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.trunk.encode(x).flatten(1))

    def split(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """The codes z and the logits of the class, from what `forward` returns."""
        return outputs[:, : self.latent_dim], outputs[:, self.latent_dim :]

    def drawn(self, outputs: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """The same, as training has them: codes are functions of their images."""
        return self.split(outputs)

    @torch.no_grad()
    def initialise(self, generator: Generators) -> None:
        """The family's weights; those of the linear layer from N(0, 1 / features), so that codes start near N(0, 1)."""
        self.trunk.initialise(generator)
        if not self.head.weight.is_meta:
            self.head.weight.normal_(0.0, 1 / math.sqrt(self.head.in_features), generator=generator("code.weight"))
            self.head.bias.zero_()


class Latent:
    """Draws what a decoder takes: z [n, dim] from the prior, then a class as a one-hot vector [n, classes]."""

    def __init__(self, prior: Prior, classes: int) -> None:
        self.prior, self.classes = prior, classes
        self.gaussian = prior.dim if prior.name == "gaussian" else 0    # interpolation needs to know

    def style(self, draws: Draws) -> Tensor:
        return self.prior(draws)

    def category(self, draws: Draws) -> Tensor:
        return F.one_hot(draws.integers("class", self.classes), self.classes).float()

    def __call__(self, draws: Draws) -> Tensor:
        return torch.cat([self.style(draws), self.category(draws)], 1) if self.classes else self.style(draws)


class ClassDecoder(nn.Module):
    """A family's generator as a decoder of style and class: (z [N, dim + classes], classes [N] or None) -> samples. The
    classes, if given, replace those in z."""

    def __init__(self, generator: nn.Module, latent: Latent) -> None:
        super().__init__()
        self.generator, self.latent, self.latent_dim = generator, latent, generator.latent_dim

    def forward(self, z: Tensor, labels: Tensor | None = None, psi: float = 1.0) -> Tensor:
        classes = self.latent.classes
        if labels is not None:
            z = torch.cat([z[:, :-classes], F.one_hot(labels, classes).to(z.dtype)], 1)
        return self.generator(z, psi=psi)

    def latent_weights(self) -> Tensor:
        return self.generator.latent_weights()

    def initialise(self, generator: Generators) -> None:
        self.generator.initialise(generator)


class Encode(nn.Module):
    """Images to codes z [N, latent_dim]."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.E = encoder

    def forward(self, images: Tensor) -> Tensor:
        return self.E.split(self.E(images))[0]


class Classify(Encode):
    """Images to logits of the class [N, classes]."""

    def forward(self, images: Tensor) -> Tensor:
        return self.E.split(self.E(images))[1]


class Reconstruct(nn.Module):
    """Images to images."""

    def __init__(self, encoder: Encoder, decoder: nn.Module) -> None:
        super().__init__()
        self.E, self.Dec = encoder, decoder

    def forward(self, images: Tensor) -> Tensor:
        z, logits = self.E.split(self.E(images))
        return self.Dec(torch.cat([z, logits.softmax(1)], 1))
