"""The distributions that codes are made to follow."""

import math

import torch
from torch import Tensor

from scalegan.randomness import Draws

_LONG, _SHORT, _DISTANCE = 0.5, 0.1, 1.4    # deviations along and across the radius, and distance from the origin
_RADIUS, _TURNS = 3.0, 2                    # of the spiral


class Prior:
    """Draws codes z [n, dim].

    Args:
        name: "gaussian": N(0, scale^2 I). "mixture": Gaussians around the origin, like the petals of a flower.
            "swiss_roll": a spiral of two turns. These two have two dimensions; the paper shows them in figures, without
            numbers, and the shapes are those of common implementations.
        scale: factor that stretches the distribution.
        components: number of Gaussians in the mixture.
    """

    def __init__(self, name: str, dim: int, scale: float = 1.0, components: int = 10) -> None:
        self.name, self.dim, self.scale, self.components = name, dim, scale, components

    def __call__(self, draws: Draws) -> Tensor:
        if self.name == "mixture":
            return self.scale * self._mixture(draws)
        return self.scale * (_swiss_roll(draws) if self.name == "swiss_roll" else draws.normal("z", self.dim))

    def _mixture(self, draws: Draws) -> Tensor:
        along, across = draws.normal("z", 2).unbind(1)
        along, across = _DISTANCE + _LONG * along, _SHORT * across
        angle = draws.integers("component", self.components) * (2 * math.pi / self.components)
        cos, sin = angle.cos(), angle.sin()
        return torch.stack([along * cos - across * sin, along * sin + across * cos], 1)


def _swiss_roll(draws: Draws) -> Tensor:
    """The radius grows with the angle, and the square root spreads samples evenly over the disc's area."""
    share = draws.uniform("z").sqrt()
    angle = 2 * math.pi * _TURNS * share
    return _RADIUS * share[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
