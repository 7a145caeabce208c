"""Gaussian noise on activations, from keyed draws."""

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
        draws, name = self.next_draws()
        return x + self.sigma * draws.normal(name, *x.shape[1:]).to(x.dtype)
