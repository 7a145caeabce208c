"""Fully connected generator and discriminator, for 2-D toys and small images."""

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from scalegan.models.layers.initial import Generators, global_generator
from scalegan.models.layers.labels import LabelEmbedding
from scalegan.models.layers.slicing import LastLayer


class Generator(nn.Module):
    """z [N, latent_dim] -> samples [N, *shape]; `layers` hidden layers of `hidden` ReLU units.

    The output is linear for points, tanh for images (a shape of three axes). Labels are embedded and appended to z.
    """

    def __init__(self, shape: Sequence[int] = (2,), hidden: int = 100, layers: int = 1, latent_dim: int = 2,
                 num_classes: int = 0, multilabel: bool = False, latent: str = "normal") -> None:
        super().__init__()
        self.shape, self.latent_dim, self.latent = tuple(shape), latent_dim, latent
        self.embed = LabelEmbedding(num_classes, latent_dim, multilabel) if num_classes else None
        inputs = latent_dim * (2 if num_classes else 1)
        output = [nn.Tanh()] if len(self.shape) == 3 else []
        self.layers = nn.Sequential(*_dense(inputs, hidden, layers, math.prod(self.shape), nn.ReLU), *output)
        self.initialise(global_generator)

    def forward(self, z: Tensor, labels: Tensor | None = None, psi: float = 1.0) -> Tensor:
        if psi != 1.0:
            raise ValueError("the MLP has no truncation; leave psi at 1")
        if self.embed is not None:
            z = torch.cat([z, self.embed(labels)], dim=1)
        return self.layers(z).unflatten(1, self.shape)

    def latent_weights(self) -> Tensor:
        """The weights by which z enters, [features, latent_dim]."""
        return self.layers[0].weight[:, : self.latent_dim]

    def initialise(self, generator: Generators) -> None:
        _initialise(self, generator)


class Discriminator(nn.Module):
    """Samples [N, *shape] -> logits [N]. Labels are embedded and appended to the input."""

    def __init__(self, shape: Sequence[int] = (2,), hidden: int = 100, layers: int = 1, num_classes: int = 0,
                 multilabel: bool = False) -> None:
        super().__init__()
        inputs = math.prod(shape)
        self.encoding_size = hidden
        self.embed = LabelEmbedding(num_classes, hidden, multilabel) if num_classes else None
        self.layers = nn.Sequential(*_dense(inputs + (hidden if num_classes else 0), hidden, layers, 1, nn.ReLU))
        self.initialise(global_generator)

    @property
    def head(self) -> nn.Linear:
        """The last layer."""
        return self.layers[-1]

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.classify(self.encode(x, labels), labels)

    def encode(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """The last hidden layer [N, hidden]."""
        h = x.flatten(1)
        if self.embed is not None:
            h = torch.cat([h, self.embed(labels)], dim=1)
        return self.layers[:-1](h)

    def classify(self, h: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits [N] from the last hidden layer."""
        return self.head(h).flatten()

    def last_layer(self, x: Tensor, labels: Tensor | None = None) -> list[LastLayer]:
        return [LastLayer(self.encode(x, labels), self.head.weight, self.head.bias)]

    def initialise(self, generator: Generators) -> None:
        _initialise(self, generator)


def _dense(inputs: int, hidden: int, layers: int, outputs: int, activation: type[nn.Module]) -> list[nn.Module]:
    widths = [inputs, *[hidden] * layers]
    inner = [m for a, b in itertools.pairwise(widths) for m in (nn.Linear(a, b), activation())]
    return [*inner, nn.Linear(widths[-1], outputs)]


@torch.no_grad()
def _initialise(module: nn.Module, generator: Generators) -> None:
    """Weights N(0, 2 / fan_in) (He et al., 2015), zero biases."""
    for name, parameter in module.named_parameters():
        if parameter.is_meta:
            continue
        if parameter.dim() == 1:
            parameter.zero_()
        else:
            fan_in = 1 if name.startswith("embed") else parameter.shape[1]
            parameter.normal_(0.0, math.sqrt(2 / fan_in), generator=generator(name))
