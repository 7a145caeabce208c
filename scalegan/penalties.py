"""Regularisers of D, free to combine with any loss and any network."""

import torch
from torch import Tensor

# The inner gradient is taken of logits scaled by a power of two, and divided by it in fp32: in fp16 the small
# gradients of single pixels would be flushed to zero, elsewhere the scaling is exact.
_INNER_SCALE = 2.0**8


def squared_gradient_norm(logits: Tensor, inputs: Tensor) -> Tensor:
    """|d logits / d inputs|^2 of each sample [N], summed over all its elements, differentiable once more.

    `inputs` [N, ...] must require a gradient, and `logits` [N] depend on each sample's own inputs.
    """
    gradient, = torch.autograd.grad(logits.sum() * _INNER_SCALE, inputs, create_graph=True)
    gradient = gradient if gradient.dtype == torch.float64 else gradient.float()
    return (gradient / _INNER_SCALE).square().flatten(1).sum(1)


def r1(logits: Tensor, reals: Tensor, gamma: float) -> Tensor:
    """gamma / 2 * E |grad D(x)|^2 at real x (Mescheder et al., 2018, eq. 9). A scalar."""
    return gamma / 2 * squared_gradient_norm(logits, reals).mean()
