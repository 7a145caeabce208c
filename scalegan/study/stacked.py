"""Fully connected networks, one per seed, computed together by batched matrix products over a stack of weights.

A seed's weights are one row of a matrix, so that an optimizer sees a single tensor, and no seed's arithmetic depends
on the other seeds in the stack.
"""

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import leaky_relu

_ALIGNED = 64  # row lengths are multiples of this, so that elements fill vector registers alike in every row


class Stack:
    """The architecture of S networks of equal widths; weights [S, size] are passed to each call.

    Args:
        widths: units of the input, of each hidden layer and of the output.
        slope: of leaky ReLU between them; 0 is ReLU.
        frequency: of the first layer, which is sin(W x + b) with W from N(0, frequency^2), so that nearby points are
            distinguished from the start (Tancik et al., 2020); 0 for a layer like the others.
    """

    def __init__(self, widths: Sequence[int], slope: float = 0.0, frequency: float = 0.0) -> None:
        self.shapes = list(itertools.pairwise(widths))
        self.slope, self.frequency = slope, frequency
        self.sizes = [size for a, b in self.shapes for size in (a * b, b)]
        self.sizes.append(-sum(self.sizes) % _ALIGNED)
        self.size = sum(self.sizes)

    def __len__(self) -> int:
        return len(self.shapes)

    def initial(self, generators: Sequence[torch.Generator], last: float = 1.0) -> Tensor:
        """Initial weights [S, size]: N(0, 2 / fan_in) (He et al., 2015), the last layer's times `last`; zero biases.

        Takes one generator per seed.
        """
        rows = []
        for generator in generators:
            parts = [part for a, b in self.shapes
                     for part in (torch.randn(a * b, generator=generator) * math.sqrt(2 / a), torch.zeros(b))]
            if self.frequency:
                a, b = self.shapes[0]
                parts[0] *= self.frequency / math.sqrt(2 / a)
                parts[1] = torch.rand(b, generator=generator) * (2 * math.pi)
            parts[-2] *= last
            rows.append(torch.cat([*parts, torch.zeros(self.sizes[-1])]))
        return torch.stack(rows)

    def __call__(self, weights: Tensor, x: Tensor, first: int = 0, last: int | None = None) -> Tensor:
        """Applies layers first ... last - 1 to x [S, n, inputs]; activations follow all but the network's output."""
        parts = weights.split(self.sizes, dim=1)
        for layer in range(first, len(self) if last is None else last):
            matrix, bias = parts[2 * layer].unflatten(1, self.shapes[layer]), parts[2 * layer + 1][:, None]
            if self.shapes[layer][1] == 1:  # products with a vector use another routine for one network than for many
                x = (x * matrix.mT).sum(2, keepdim=True) + bias
            else:
                x = torch.baddbmm(bias, x, matrix)
            if layer == 0 and self.frequency:
                x = x.sin()
            elif layer < len(self) - 1:
                x = leaky_relu(x, self.slope)
        return x
