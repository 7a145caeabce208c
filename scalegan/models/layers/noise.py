"""Gaussian noise on activations, from keyed draws."""

import torch
from torch import Tensor

from scalegan.models.layers.dropout import Keyed


class KeyedNoise(Keyed):
    """In training, adds Gaussian noise with standard deviation `sigma`; see `Keyed` for where it comes from."""

    def __init__(self, sigma: float) -> None:
        super().__init__()
        self.sigma = sigma

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.sigma:
            return x
        if self.draws is None:
            return x + self.sigma * torch.randn_like(x)
        return x + self.sigma * self.draws.normal(self.next_pass(), *x.shape[1:]).to(x.dtype)
