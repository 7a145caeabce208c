"""Conditioning augmentation (Zhang et al., 2017, StackGAN, section 3.1)."""

import torch
from torch import Tensor, nn

from scalegan.games.sampling import latents
from scalegan.models.layers.conditions import check_vectors
from scalegan.models.layers.initial import Generators, global_generator
from scalegan.randomness import Draws

_SLOPE = 0.2


class ConditioningAugmentation(nn.Module):
    """A generator that sees c = mu(t) + sigma(t) eps instead of the text t, with eps from N(0, I): few texts then fill
    a region instead of points.

    Its latents are [N, latent_dim + dim]: the generator's own, then eps.

    Args:
        generator: (z [N, latent_dim], c [N, dim]) -> images [N, ...].
        vector_dim: length of t.
        dim: length of c.
    """

    def __init__(self, generator: nn.Module, vector_dim: int, dim: int = 128) -> None:
        super().__init__()
        self.generator, self.dim, self.latent_dim = generator, dim, generator.latent_dim + dim
        self.projection = nn.Linear(vector_dim, 2 * dim)
        self.initialise(global_generator)

    def latent(self, draws: Draws) -> Tensor:
        """z and eps, [n, latent_dim + dim]."""
        return torch.cat([latents(self.generator, draws), draws.normal("text", self.dim)], 1)

    def gaussian(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """mu and log sigma^2 of texts [N, vector_dim], [N, dim] each."""
        texts = check_vectors(labels, self.projection.in_features, 0 if labels is None else labels.shape[0])
        return nn.functional.leaky_relu(self.projection(texts), _SLOPE).chunk(2, 1)

    def divergence(self, labels: Tensor) -> Tensor:
        """KL(N(mu, sigma^2) | N(0, I)), a mean over samples and dimensions, []."""
        mu, log_variance = self.gaussian(labels)
        return (mu.square() + log_variance.exp() - 1 - log_variance).mean() / 2

    def forward(self, z: Tensor, labels: Tensor | None = None, psi: float = 1.0) -> Tensor:
        z, eps = z.split([self.generator.latent_dim, self.dim], 1)
        mu, log_variance = self.gaussian(labels)
        return self.generator(z, mu + (log_variance / 2).exp() * eps, psi=psi)

    @torch.no_grad()
    def initialise(self, generator: Generators) -> None:
        """For texts of length 1, mu begins as large as eps; sigma begins at 1."""
        self.generator.initialise(lambda name: generator(f"generator.{name}"))
        mu, log_variance = self.projection.weight.chunk(2)
        if not mu.is_meta:
            mu.normal_(generator=generator("projection.weight"))
        log_variance.zero_()
        self.projection.bias.zero_()
