"""D as a classifier of K classes, and the fully connected networks of the published code for digits."""

import itertools
import math
from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalegan.games.aae.networks import without_output
from scalegan.games.sampling import unit_cube
from scalegan.models.layers.batchnorm import GroupedBatchNorm
from scalegan.models.layers.initial import Generators, global_generator
from scalegan.models.layers.noise import KeyedNoise

_NOISE, _G_UNITS = 100, 500
_D_UNITS = (1000, 500, 250, 250, 250)
# Lengths of the rows of weights: they give activations of digits a deviation of about 1, which the published code
# measures on 500 images before training.
_FIRST_LENGTH, _LENGTH = 2.5, 1.3


def realness(logits: Tensor) -> Tensor:
    """Logits of K classes [N, K] to those of being real [N]: D(x) = Z / (Z + 1), Z = sum_k exp(logits_k), as the logit
    of class K + 1, generated, is fixed at 0 (section 5)."""
    return logits.logsumexp(1)


class Classes(nn.Module):
    """Images [N, C, H, W] to logits [N, classes]: a linear layer on the last features of a family's discriminator,
    which has no output layer of its own."""

    def __init__(self, trunk: nn.Module, classes: int) -> None:
        super().__init__()
        self.trunk, self.head = without_output(trunk), nn.Linear(trunk.encoding_size, classes)
        self.initialise(global_generator)

    def features(self, x: Tensor) -> Tensor:
        """The layer on which G matches the features of real images, [N, features]."""
        return self.trunk.encode(x).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))

    @torch.no_grad()
    def initialise(self, generator: Generators) -> None:
        """The family's weights, N(0, 1 / features) for the linear layer."""
        self.trunk.initialise(generator)
        if not self.head.weight.is_meta:
            self.head.weight.normal_(0.0, 1 / math.sqrt(self.head.in_features), generator=generator("head.weight"))
            self.head.bias.zero_()


class WeightNormed(nn.Module):
    """A linear layer whose rows of weights have the length `length` (Salimans & Kingma, 2016), here not learnt unless
    `learnt`."""

    def __init__(self, inputs: int, outputs: int, length: float = 1.0, learnt: bool = False) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.empty(outputs, inputs)), nn.Parameter(torch.zeros(outputs))
        self.length = length
        self.gain = nn.Parameter(torch.ones(outputs)) if learnt else None

    def forward(self, x: Tensor) -> Tensor:
        weight = self.length * F.normalize(self.weight, dim=1)
        return F.linear(x, weight if self.gain is None else self.gain[:, None] * weight, self.bias)


class Normed(nn.Module):
    """A linear layer, BatchNorm without a gain, and a bias."""

    def __init__(self, inputs: int, outputs: int, norm_group: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs, bias=False)
        self.norm = GroupedBatchNorm(outputs, norm_group, affine=False)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.linear(x)) + self.bias


class Generator(nn.Module):
    """z [N, 100] to images [N, *shape] in [-1, 1]: two layers of 500 softplus units with BatchNorm, then a
    weight-normed one whose sigmoid is scaled to [-1, 1]."""

    latent_dim = _NOISE

    def __init__(self, shape: Sequence[int], norm_group: int = 25) -> None:
        super().__init__()
        self.shape, self.latent = tuple(shape), partial(unit_cube, _NOISE)
        self.layers = nn.Sequential(Normed(_NOISE, _G_UNITS, norm_group), nn.Softplus(),
                                    Normed(_G_UNITS, _G_UNITS, norm_group), nn.Softplus(),
                                    WeightNormed(_G_UNITS, math.prod(shape), learnt=True), nn.Sigmoid())
        self.initialise(global_generator)

    def forward(self, z: Tensor, labels: Tensor | None = None, psi: float = 1.0) -> Tensor:
        if psi != 1.0:
            raise ValueError("this generator has no truncation; leave psi at 1")
        return 2 * self.layers(z).unflatten(1, self.shape) - 1

    def initialise(self, generator: Generators) -> None:
        _initialise(self, generator, 0.05)


class Discriminator(nn.Module):
    """Images [N, *shape] in [-1, 1] to logits [N, classes]: weight-normed layers of 1,000, 500 and three times 250
    ReLUs, with Gaussian noise of 0.3 on pixels in [0, 1] and of 0.5 on every hidden layer."""

    def __init__(self, shape: Sequence[int], classes: int) -> None:
        super().__init__()
        inputs = math.prod(shape)
        layers: list[nn.Module] = [KeyedNoise(0.3)]
        for narrow, wide in itertools.pairwise((inputs, *_D_UNITS)):
            length = _FIRST_LENGTH if narrow == inputs else _LENGTH
            layers += [WeightNormed(narrow, wide, length), nn.ReLU(), KeyedNoise(0.5)]
        self.layers, self.noise = nn.Sequential(*layers[:-1]), layers[-1]
        self.head = WeightNormed(_D_UNITS[-1], classes, learnt=True)
        self.initialise(global_generator)

    def features(self, x: Tensor) -> Tensor:
        """The last hidden layer [N, 250], on which G matches the features of real images."""
        return self.layers((x.flatten(1) + 1) / 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.noise(self.features(x)))

    def initialise(self, generator: Generators) -> None:
        _initialise(self, generator, 0.1)


@torch.no_grad()
def _initialise(module: nn.Module, generator: Generators, deviation: float) -> None:
    """Weights N(0, deviation^2), gains 1, biases 0."""
    for name, parameter in module.named_parameters():
        if parameter.is_meta:
            continue
        if parameter.dim() > 1:
            parameter.normal_(0.0, deviation, generator=generator(name))
        else:
            parameter.fill_(1.0 if name.endswith("gain") else 0.0)
