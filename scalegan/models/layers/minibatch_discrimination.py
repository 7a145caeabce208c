"""Minibatch discrimination (Salimans et al., 2016, section 3.2)."""

import math

import torch
from torch import Tensor, nn

from scalegan.models.layers.initial import Generators, global_generator


def closeness(kernels: Tensor, group: int) -> Tensor:
    """o(x_i) = sum over j != i of exp(-|M_i - M_j|_1) [n, B], of M [n, B, C].

    Defined per group of `group` consecutive samples: a sample is compared with the others of its group. Fewer than
    `group` samples form one group.
    """
    m = kernels.unflatten(0, (-1, min(group, len(kernels))))            # [n / group, group, B, C]
    apart = (m[:, :, None] - m[:, None]).abs().sum(-1)                  # [n / group, group, group, B]
    return (torch.exp(-apart).sum(2) - 1).flatten(0, 1)                 # without the sample itself, exp(0)


class MinibatchDiscrimination(nn.Module):
    """A discriminator that sees a sample's features f and how close the others of its group are: logits [N].

    Args:
        discriminator: with `encode(x, labels) -> f` and `classify(f, labels) -> logits`.
        features: size of f, flattened.
        kernels, kernel_dim: B and C of the paper (100 and 5 there, after 250 features).
        group: consecutive samples that are compared.
    """

    def __init__(self, discriminator: nn.Module, features: int, kernels: int = 100, kernel_dim: int = 5,
                 group: int = 16) -> None:
        super().__init__()
        self.discriminator, self.group, self.shape = discriminator, group, (kernels, kernel_dim)
        self.T = nn.Parameter(torch.empty(features, kernels * kernel_dim))
        self.weight = nn.Parameter(torch.empty(kernels))
        self.initialise(global_generator)

    def encode(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.discriminator.encode(x, labels)

    def classify(self, features: Tensor, labels: Tensor | None = None) -> Tensor:
        """A linear layer on [f, o(f)] is the sum of one on f, which the discriminator has, and one on o(f)."""
        close = closeness((features.flatten(1) @ self.T).unflatten(1, self.shape), self.group)
        return self.discriminator.classify(features, labels) + close @ self.weight

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.classify(self.encode(x, labels), labels)

    @torch.no_grad()
    def initialise(self, generator: Generators) -> None:
        """T is N(0, 1 / features), so that distances start of the order of C; o(f) starts with zero weight."""
        self.discriminator.initialise(generator)
        self.T.normal_(0.0, 1 / math.sqrt(len(self.T)), generator=generator("T"))
        self.weight.zero_()
