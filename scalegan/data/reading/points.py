"""2-D toy data, generated on the fly from keyed draws: an endless stream, so that nothing can be memorised."""

import math

import numpy as np
import torch
from torch import Tensor

from scalegan.data.reading.record_reader import RecordReader
from scalegan.randomness import Draws


def ring8(draws: Draws) -> Tensor:
    """Eight Gaussians of sigma 0.02 on a circle of radius 2 [n, 2] (Metz et al., 2017)."""
    angle = draws.integers("mode", 8).double() * (2 * math.pi / 8)
    return (2 * torch.stack([angle.cos(), angle.sin()], dim=1)).float() + 0.02 * draws.normal("noise", 2)


def grid25(draws: Draws) -> Tensor:
    """A 5 x 5 grid of Gaussians, spacing 2, sigma 0.05 [n, 2] (Dumoulin et al., 2017)."""
    mode = draws.integers("mode", 25)
    centre = torch.stack([mode // 5, mode % 5], dim=1).float() * 2 - 4
    return centre + 0.05 * draws.normal("noise", 2)


def moons(draws: Draws) -> Tensor:
    """Two interleaved half circles [n, 2]."""
    angle = draws.uniform("angle").double() * math.pi
    upper = torch.stack([angle.cos() - 0.5, angle.sin() - 0.25], dim=1)
    side = draws.integers("moon", 2)[:, None] * 2 - 1
    return (upper * side * 1.5).float() + 0.05 * draws.normal("noise", 2)


def spiral(draws: Draws) -> Tensor:
    """A spiral arm of two turns [n, 2]."""
    angle = draws.uniform("angle").double().sqrt() * (4 * math.pi)
    arm = torch.stack([angle.cos(), angle.sin()], dim=1) * angle[:, None] / 6
    return arm.float() + 0.05 * draws.normal("noise", 2)


SETS = {"ring8": ring8, "grid25": grid25, "moons": moons, "spiral": spiral}


class PointReader(RecordReader):
    """2-D points, float32 [n, 2], without labels: record i is a function of (seed, i)."""

    sizes = ()
    sample = np.dtype((np.float32, (2,)))

    def __init__(self, name: str, seed: int) -> None:
        self.name, self.seed = name, seed

    def read(self, out: np.ndarray, records: np.ndarray) -> None:
        out[:] = SETS[self.name](Draws(self.seed, 0, f"points/{self.name}", torch.from_numpy(records))).numpy()
