"""Regularisers, free to combine with any loss and any network."""

import math

import torch
from torch import Tensor

from scalegan.models.layers.tracked import Tracked

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


class PathLength(Tracked):
    """StyleGAN2's path length regularisation (Karras et al., 2020, section 3.2).

    Args:
        weight: of the penalty.
        decay: share of the running mean length that an update keeps (the published code's 1 - 0.01).

    The mean that lengths are held against is the running one moved by the grain's own, as in the published code by
    the GPU's: the penalty is defined per grain.
    """

    def __init__(self, weight: float = 2.0, decay: float = 0.99) -> None:
        super().__init__()
        self.weight, self.decay = weight, decay
        self.statistics = {"mean": ()}
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, images: Tensor, ws: Tensor, noise: Tensor) -> Tensor:
        """A scalar from images [n, C, H, W] made of ws [n, num_ws, w_dim]; `noise` is standard normal, as images."""
        height, width = images.shape[2:]
        along = (images * noise).sum() / math.sqrt(height * width)
        gradient, = torch.autograd.grad(along, ws, create_graph=True)
        lengths = gradient.square().sum(2).mean(1).sqrt()  # [n]
        self.observe(mean=lengths.mean())
        mean = self.mean.lerp(lengths.mean().to(self.mean.dtype), 1 - self.decay)
        return self.weight * (lengths - mean).square().mean()

    def advance(self, mean: Tensor) -> None:
        self.mean.lerp_(mean.to(self.mean.dtype), 1 - self.decay)


def r1(logits: Tensor, reals: Tensor, gamma: float) -> Tensor:
    """gamma / 2 * E |grad D(x)|^2 at real x (Mescheder et al., 2018, eq. 9). A scalar. At fakes it is their R2."""
    return gamma / 2 * squared_gradient_norm(logits, reals).mean()
