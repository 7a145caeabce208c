"""InfoGAN's codes: how they are drawn, and how Q reads them."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalegan.losses import Terms
from scalegan.models.layers.batchnorm import GroupedBatchNorm
from scalegan.models.layers.initial import Generators, global_generator
from scalegan.randomness import Draws

_LEAK = 0.1
_HALF_LOG_TWO_PI = math.log(2 * math.pi) / 2


class Codes:
    """The latent of a generator: noise, categorical codes as one-hot vectors, continuous codes in [-1, 1].

    Args:
        noise_dim: dimension of the incompressible noise.
        categories: number of values of each categorical code.
        continuous: number of continuous codes.
        noise: distribution of the noise: "normal", or "uniform" in [-1, 1].
    """

    def __init__(self, noise_dim: int, categories: Sequence[int], continuous: int, noise: str = "uniform") -> None:
        self.noise_dim, self.categories, self.continuous, self.noise = noise_dim, tuple(categories), continuous, noise
        self.gaussian = noise_dim if noise == "normal" else 0   # interpolation needs to know

    @property
    def latent_dim(self) -> int:
        return self.noise_dim + sum(self.categories) + self.continuous

    @property
    def entropy(self) -> float:
        """H(c) in nats, the differential entropy for continuous codes."""
        return sum(math.log(count) for count in self.categories) + self.continuous * math.log(2)

    def __call__(self, draws: Draws) -> Tensor:
        """z [n, latent_dim]."""
        noise = draws.normal("z", self.noise_dim) if self.noise == "normal" else \
            draws.uniform("z", self.noise_dim) * 2 - 1
        parts = [noise, *(F.one_hot(draws.integers(f"code{i}", count), count).to(noise.dtype)
                          for i, count in enumerate(self.categories))]
        if self.continuous:
            parts.append(draws.uniform("continuous", self.continuous) * 2 - 1)
        return torch.cat(parts, 1)

    def of(self, z: Tensor) -> tuple[list[Tensor], Tensor]:
        """The codes in z: classes [n] for each categorical code, and the continuous codes [n, continuous]."""
        parts = z[:, self.noise_dim:].split([*self.categories, self.continuous], 1)
        return [part.argmax(1) for part in parts[:-1]], parts[-1]


class Reader(nn.Module):
    """Q's own layers: D's features [N, features] to logits of all categories, means and log standard deviations
    [N, sum(categories) + 2 * continuous].

    Args:
        norm_group: samples that share BatchNorm statistics; None for no BatchNorm.
        fixed_deviation: fix the standard deviations at 1.
    """

    def __init__(self, features: int, hidden: int, categories: Sequence[int], continuous: int,
                 norm_group: int | str | None = None, fixed_deviation: bool = False) -> None:
        super().__init__()
        self.categories, self.continuous, self.fixed_deviation = tuple(categories), continuous, fixed_deviation
        self.hidden = nn.Linear(features, hidden)
        self.norm = nn.Identity() if norm_group is None else GroupedBatchNorm(hidden, norm_group=norm_group)
        self.out = nn.Linear(hidden, sum(categories) + 2 * continuous)
        self.initialise(global_generator)

    def forward(self, features: Tensor) -> Tensor:
        return self.out(F.leaky_relu(self.norm(self.hidden(features.flatten(1))), _LEAK))

    def surprise(self, read: Tensor, classes: Sequence[Tensor], values: Tensor) -> Terms:
        """-E log Q(c | x) for categorical and for continuous codes, scalars; a kind without codes is left out."""
        *logits, means, logs = read.split([*self.categories, self.continuous, self.continuous], 1)
        found = {}
        if classes:
            found["categories"] = sum(F.cross_entropy(one, own) for one, own in zip(logits, classes))
        if self.continuous:
            logs = torch.zeros_like(logs) if self.fixed_deviation else logs
            distance = (values - means) / logs.exp()
            found["continuous"] = (distance.square() / 2 + logs + _HALF_LOG_TWO_PI).sum(1).mean()
        return found

    @torch.no_grad()
    def initialise(self, generator: Generators) -> None:
        """Weights N(0, 0.02), zero biases."""
        for name, parameter in self.named_parameters():
            if parameter.is_meta:
                continue
            if name.startswith("norm"):
                parameter.fill_(1.0 if name.endswith("weight") else 0.0)
            elif parameter.dim() > 1:
                parameter.normal_(0, 0.02, generator=generator(name))
            else:
                parameter.zero_()
