"""Path length regularisation, and its running mean."""

import math

import torch
from torch import Tensor

from scalegan.models.layers.tracked import Tracked


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
