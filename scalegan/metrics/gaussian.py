"""Mean and covariance of features, from sums whose size does not depend on the number of images."""

import torch
from torch import Tensor

from scalegan.support.devices import double


class Moments:
    """Count, sum and sum of outer products of vectors, in float64.

    Args:
        dim: d, length of a vector.
    """

    def __init__(self, dim: int, device: torch.device | str = "cpu") -> None:
        self.count = 0
        self.total = torch.zeros(dim, dtype=torch.float64, device=device)
        self.outer = torch.zeros(dim, dim, dtype=torch.float64, device=device)

    @classmethod
    def of(cls, vectors: Tensor) -> "Moments":
        """The moments of vectors [n, d]."""
        moments = cls(vectors.shape[1], double(vectors[:0]).device)
        moments.add(vectors)
        return moments

    def add(self, vectors: Tensor) -> None:
        """Adds vectors [n, d]."""
        wide = double(vectors)
        self.count += len(wide)
        self.total += wide.sum(0)
        self.outer.addmm_(wide.T, wide)

    def packed(self) -> Tensor:
        """Everything in one vector [1 + d + d * d] on the CPU, which can be summed over ranks."""
        count = torch.tensor([self.count], dtype=torch.float64)
        return torch.cat([count, self.total.cpu(), self.outer.cpu().flatten()])

    @classmethod
    def unpacked(cls, packed: Tensor, dim: int) -> "Moments":
        moments = cls(dim)
        moments.count = int(packed[0])
        moments.total, moments.outer = packed[1 : 1 + dim].clone(), packed[1 + dim :].reshape(dim, dim).clone()
        return moments

    @property
    def dim(self) -> int:
        return len(self.total)

    @property
    def mean(self) -> Tensor:
        """[d]"""
        return self.total / self.count

    @property
    def covariance(self) -> Tensor:
        """[d, d], with the divisor n - 1 of the published FID."""
        centred = self.outer - torch.outer(self.total, self.mean)
        return centred / max(self.count - 1, 1)
