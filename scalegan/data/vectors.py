"""Vectors that describe the records of a dataset, one or several each."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from scalegan.randomness import Draws

_TRIES = 8          # draws in which to find the vector of another record
_MANY = 1 << 30     # numbers that choose among a record's vectors, whose count hardly matters beside it


@dataclass(frozen=True)
class VectorTable:
    """The conditions of all records.

    Args:
        vectors: float32 [M, dim].
        rows: of each record, the first of its vectors and how many there are, int64 [N, 2].
        encoder: description of what made them; empty if unknown.
    """

    vectors: Tensor
    rows: Tensor
    encoder: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    def to(self, device: torch.device) -> "VectorTable":
        return replace(self, vectors=self.vectors.to(device), rows=self.rows.to(device))

    def of(self, rows: Tensor, draws: Draws, name: str) -> Tensor:
        """One of the vectors of each of these rows [n, 2] or [n, k, 2], by draws of that name: [n, dim], [n, k, dim].
        """
        return self.vectors[self.places(rows, draws, name)]

    def places(self, rows: Tensor, draws: Draws, name: str) -> Tensor:
        """Where among all vectors those lie that `of` gives."""
        first, count = rows.unbind(-1)
        return first + draws.integers(name, _MANY, *rows.shape[1:-1]) % count

    def drawn(self, draws: Draws, name: str) -> Tensor:
        """Vectors [n, dim] of random records."""
        return self.of(self.rows[draws.integers(name, len(self))], draws, f"{name}/which")

    def of_others(self, own: Tensor, records: Tensor, draws: Draws, name: str) -> Tensor:
        """Vectors [n, dim] of random records, each another than its sample's own and with another vector, if one of
        eight draws is.

        Args:
            own: vectors [n, dim].
            records: numbers of the samples' own records, int64 [n].
        """
        found = draws.integers(name, len(self), _TRIES)
        vectors = self.of(self.rows[found], draws, f"{name}/which")
        apart = (found != records.to(found)[:, None]) & (vectors != own[:, None]).any(2)
        return vectors[torch.arange(len(found), device=found.device), apart.int().argmax(1)]
