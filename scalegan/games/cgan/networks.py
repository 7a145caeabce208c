"""The networks of Mirza & Osindero (2014), section 4.1: both inputs have hidden units of their own, then they join."""

import math
from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from scalegan.games.sampling import unit_cube
from scalegan.models.layers.conditions import check_labels, embed
from scalegan.models.layers.dropout import KeyedDropout
from scalegan.models.layers.initial import Generators, global_generator
from scalegan.models.layers.slicing import LastLayer

_NOISE, _FROM_NOISE, _FROM_LABELS, _JOINT = 100, 200, 1000, 1200


class Conditions(nn.Module):
    """Class indices [N] as one-hot rows, or 0/1 attributes [N, K], to [N, labels]."""

    def __init__(self, labels: int) -> None:
        super().__init__()
        self.labels = labels

    def forward(self, labels: Tensor | None, like: Tensor) -> Tensor:
        rows = torch.eye(self.labels, dtype=like.dtype, device=like.device)
        return embed(check_labels(labels, self.labels, like.shape[0]), rows)


class Generator(nn.Module):
    """z [N, 100] and labels to samples [N, *shape] in [-1, 1].

    200 units see z and 1,000 see the labels; 1,200 see both. All are ReLUs. The paper's output is a sigmoid, of pixels
    in [0, 1]; here it is scaled to [-1, 1].

    Args:
        shape: of a sample; [1, 28, 28] in the paper.
        labels: number of classes or attributes.
        dropout: probability that a hidden unit is dropped.
    """

    latent_dim = _NOISE

    def __init__(self, shape: Sequence[int], labels: int, dropout: float = 0.5) -> None:
        super().__init__()
        self.shape, self.latent = tuple(shape), partial(unit_cube, _NOISE)
        self.conditions = Conditions(labels)
        self.noise, self.labels = nn.Linear(_NOISE, _FROM_NOISE), nn.Linear(labels, _FROM_LABELS)
        self.layers = nn.Sequential(
            nn.ReLU(), KeyedDropout(dropout), nn.Linear(_FROM_NOISE + _FROM_LABELS, _JOINT), nn.ReLU(),
            KeyedDropout(dropout), nn.Linear(_JOINT, math.prod(shape)), nn.Sigmoid())
        self.initialise(global_generator)

    def forward(self, z: Tensor, labels: Tensor | None = None, psi: float = 1.0) -> Tensor:
        if psi != 1.0:
            raise ValueError("CGAN's generator has no truncation; leave psi at 1")
        joined = torch.cat([self.noise(z), self.labels(self.conditions(labels, z))], 1)
        return 2 * self.layers(joined).unflatten(1, self.shape) - 1

    def initialise(self, generator: Generators) -> None:
        """The variance of z is 1/12, so its weights are larger, lest labels crowd it out."""
        _initialise(self, generator, {"noise": _NOISE / 12})


class Maxout(nn.Module):
    """The largest of `pieces` linear functions per unit (Goodfellow et al., 2013): [N, inputs] -> [N, units]."""

    def __init__(self, inputs: int, units: int, pieces: int) -> None:
        super().__init__()
        self.linear, self.pieces = nn.Linear(inputs, units * pieces), pieces

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x).unflatten(1, (-1, self.pieces)).amax(2)


class Discriminator(nn.Module):
    """Samples [N, *shape] in [-1, 1] and labels to logits [N].

    240 maxout units of 5 pieces see the sample, its pixels in [0, 1], and 50 of 5 the labels; 240 of 4 see both.
    """

    encoding_size = 240

    def __init__(self, shape: Sequence[int], labels: int, dropout: float = 0.5) -> None:
        super().__init__()
        self.conditions = Conditions(labels)
        self.sample, self.labels = Maxout(math.prod(shape), 240, 5), Maxout(labels, 50, 5)
        self.joint = nn.Sequential(KeyedDropout(dropout), Maxout(290, 240, 4), KeyedDropout(dropout))
        self.head = nn.Linear(240, 1)
        self.initialise(global_generator)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.classify(self.encode(x, labels), labels)

    def encode(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """The joint hidden units [N, 240]."""
        pixels = (x.flatten(1) + 1) / 2
        return self.joint(torch.cat([self.sample(pixels), self.labels(self.conditions(labels, pixels))], 1))

    def classify(self, features: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.head(features).flatten()

    def last_layer(self, x: Tensor, labels: Tensor | None = None) -> list[LastLayer]:
        return [LastLayer(self.encode(x, labels), self.head.weight, self.head.bias)]

    def initialise(self, generator: Generators) -> None:
        """A class is one input, so that labels count as much as pixels."""
        _initialise(self, generator, {"labels": 1})


@torch.no_grad()
def _initialise(module: nn.Module, generator: Generators, inputs: Mapping[str, float]) -> None:
    """Weights N(0, 2 / inputs) and zero biases, `inputs` those of the layer where they are not given. The paper says
    nothing of them."""
    for name, parameter in module.named_parameters():
        if parameter.is_meta:
            continue
        if parameter.dim() == 1:
            parameter.zero_()
        else:
            count = inputs.get(name.partition(".")[0], parameter.shape[1])
            parameter.normal_(0.0, math.sqrt(2 / count), generator=generator(name))
