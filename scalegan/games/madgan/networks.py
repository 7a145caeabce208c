"""K generators that share layers, and a D that tells them apart (Ghosh et al., 2018, section 3)."""

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from scalegan.games.sampling import latents
from scalegan.models.layers.initial import Generators, global_generator
from scalegan.randomness import Draws


class SeveralGenerators(nn.Module):
    """K generators that share all layers but the last, as in the published code.

    Its latents are [N, latent_dim + K]: noise, and the generator as a one-hot vector, whose largest entry counts.

    Args:
        generator: z [N, latent_dim] -> samples of all generators [N, K * C, ...], whose last layers are one layer.
        count: K.
    """

    def __init__(self, generator: nn.Module, count: int) -> None:
        super().__init__()
        self.generator, self.count = generator, count
        self.latent_dim = generator.latent_dim + count

    def latent(self, draws: Draws) -> Tensor:
        """Noise and generators [n, latent_dim + K]; generators are drawn uniformly."""
        noise = latents(self.generator, draws)
        return torch.cat([noise, one_hot(draws.integers("generator", self.count), self.count).to(noise.dtype)], 1)

    def makers(self, z: Tensor) -> Tensor:
        """The generators that z names, int64 [N]."""
        return z[:, self.generator.latent_dim :].argmax(1)

    def forward(self, z: Tensor, labels: Tensor | None = None, psi: float = 1.0) -> Tensor:
        made = self.generator(z[:, : self.generator.latent_dim], labels, psi=psi).unflatten(1, (self.count, -1))
        chosen = one_hot(self.makers(z), self.count).to(made.dtype)
        return (made * chosen.view(*chosen.shape, *[1] * (made.dim() - 2))).sum(1)

    def initialise(self, generator: Generators) -> None:
        self.generator.initialise(generator)


class Classes(nn.Module):
    """Samples [N, ...] to the logits of K + 1 classes [N, K + 1], linear in the features of a family's D.

    Args:
        discriminator: with `encoding_size` and `encode(x) -> f`.
        classes: K + 1.
    """

    def __init__(self, discriminator: nn.Module, classes: int) -> None:
        super().__init__()
        self.discriminator = discriminator
        self.classes = nn.Linear(discriminator.encoding_size, classes)
        self.initialise(global_generator)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.classes(self.discriminator.encode(x).flatten(1))

    @torch.no_grad()
    def initialise(self, generator: Generators) -> None:
        """The last layer's weights N(0, 0.02), its biases 0."""
        self.discriminator.initialise(generator)
        self.classes.weight.normal_(0, 0.02, generator=generator("classes.weight"))
        self.classes.bias.zero_()
