"""DeLiGAN (Gurumurthy et al., 2017): latents from a mixture of Gaussians that is learned with the generator."""

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from scalegan.games.base import Batch, Game
from scalegan.games.penalties import Penalty
from scalegan.games.sampling import latents
from scalegan.losses import Terms
from scalegan.models.layers.initial import Generators, global_generator
from scalegan.randomness import Draws


class LatentMixture(nn.Module):
    """A generator of z = mu_k + sigma_k eps, with a component k drawn uniformly (section 4).

    Its own latents are [N, latent_dim + K]: eps, from the generator's distribution, and the component as a one-hot
    vector; between two such vectors, mu and sigma are interpolated.

    Args:
        generator: (z [N, latent_dim], labels) -> samples [N, ...].
        components: K.
        deviation: initial sigma.
    """

    def __init__(self, generator: nn.Module, components: int = 50, deviation: float = 0.2) -> None:
        super().__init__()
        self.generator, self.components, self.deviation = generator, components, deviation
        self.latent_dim = generator.latent_dim + components
        self.mu = nn.Parameter(torch.empty(components, generator.latent_dim))
        self.sigma = nn.Parameter(torch.empty(components, generator.latent_dim))
        self.initialise(global_generator)

    def latent(self, draws: Draws) -> Tensor:
        """eps and components [n, latent_dim + K]."""
        eps = latents(self.generator, draws)
        return torch.cat([eps, one_hot(draws.integers("component", self.components), self.components).to(eps.dtype)], 1)

    def forward(self, z: Tensor, labels: Tensor | None = None, psi: float = 1.0) -> Tensor:
        eps, chosen = z.split([self.generator.latent_dim, self.components], 1)
        return self.generator(chosen @ self.mu + (chosen @ self.sigma) * eps, labels, psi=psi)

    @torch.no_grad()
    def initialise(self, generator: Generators) -> None:
        """mu uniform in [-1, 1], as in the published code."""
        self.generator.initialise(generator)
        self.mu.uniform_(-1, 1, generator=generator("mu"))
        self.sigma.fill_(self.deviation)


class Deviations(Penalty):
    """Adds weight * E (1 - sigma)^2 to G's loss, a mean over components and dimensions: without it, sigma would shrink
    to 0, and every component to a single image (section 4)."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = weight

    def generator_terms(self, game: Game, batch: Batch, fakes: Tensor, condition: Tensor | None) -> Terms:
        return {"deviations": self.weight * (1 - game.G.sigma).square().mean()}
