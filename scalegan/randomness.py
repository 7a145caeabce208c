"""Counter-based random draws: every number is a function of (seed, attempt, purpose, global position).

No rank, worker, device or earlier draw enters, so a run can be killed, resumed and moved to another number of
ranks without changing a sample. The generator is Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy
as 1, 2, 3", SC 2011), written in integer tensor operations, so that it gives the same integers on every device.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scalegan.support.keys import key_of

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = 0xFFFFFFFF
# Draws per sample are padded to whole vector registers: log and cos of an element can differ in the last bit
# between a vectorised loop and its scalar tail, and a sample's place in the batch must not matter.
_PAD = 32


def philox(key: int, positions: Tensor, blocks: int) -> Tensor:
    """Random 32-bit integers, as int64 [n, 4 * blocks]: row i belongs to `positions[i]` (int64 [n]) alone."""
    # NumPy starts an operation on the CPU several times faster than torch, and there are 140 small ones.
    on_cpu = positions.device.type == "cpu"
    low, high = positions & _LOW, (positions >> 32) & _LOW
    block = torch.arange(blocks, device=positions.device)
    if on_cpu:
        low, high, block = low.numpy(), high.numpy(), block.numpy()
    none = low[:, None] * 0 + block[None] * 0
    words = _rounds(key, none + block[None], none + low[:, None], none + high[:, None])
    if on_cpu:
        return torch.from_numpy(np.stack(words, axis=-1).reshape(len(positions), 4 * blocks))
    return torch.stack(words, dim=-1).reshape(len(positions), 4 * blocks)


def _rounds(key: int, c0: Any, c2: Any, c3: Any) -> list[Any]:
    """Ten rounds over counters (c0, 0, c2, c3), int64 arrays or tensors that hold 32 bits each."""
    c1 = c0 * 0
    k0, k1 = key & _LOW, key >> 32
    for _ in range(10):
        # The product of two 32-bit numbers wraps into int64's sign; shifting and masking gives its halves all the same.
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = ((p1 >> 32) & _LOW) ^ c1 ^ k0, p1 & _LOW, ((p0 >> 32) & _LOW) ^ c3 ^ k1, p0 & _LOW
        k0, k1 = (k0 + _WEYL[0]) & _LOW, (k1 + _WEYL[1]) & _LOW
    return [c0, c1, c2, c3]


@dataclass(frozen=True)
class Draws:
    """The random numbers of some samples of a run.

    Args:
        seed, attempt: of the run; a rollback raises `attempt`.
        purpose: who draws, such as a phase's name; two purposes never share a number.
        positions: int64 [n], the samples' global positions.
    """

    seed: int
    attempt: int
    purpose: str
    positions: Tensor

    def _bits(self, name: str, shape: tuple[int, ...]) -> Tensor:
        size = math.prod(shape)
        padded = -(-max(size, 1) // _PAD) * _PAD
        return philox(key_of(self.seed, self.attempt, self.purpose, name), self.positions, padded // 4)

    def _shaped(self, values: Tensor, shape: tuple[int, ...]) -> Tensor:
        return values[:, : math.prod(shape)].reshape(len(self.positions), *shape)

    def uniform(self, name: str, *shape: int) -> Tensor:
        """Uniform in [0, 1), float32 [n, *shape]."""
        return self._shaped((self._bits(name, shape) >> 8).float() * 2.0**-24, shape)

    def normal(self, name: str, *shape: int) -> Tensor:
        """Standard normal, float32 [n, *shape] (Box & Muller, 1958)."""
        u = (self._bits(name, shape).double() + 0.5) * 2.0**-32
        half = u.shape[1] // 2
        radius = (u[:, :half].log() * -2).sqrt()
        angle = u[:, half:] * (2 * math.pi)
        return self._shaped(torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1).float(), shape)

    def integers(self, name: str, high: int, *shape: int) -> Tensor:
        """Uniform in 0 ... high - 1, int64 [n, *shape]."""
        return self._shaped((self._bits(name, shape) * high) >> 32, shape)

    def of(self, part: str) -> "Draws":
        """The same samples' draws of a part of the purpose, which shares no number with it."""
        return replace(self, purpose=f"{self.purpose}/{part}")

    def to(self, device: torch.device) -> "Draws":
        return Draws(self.seed, self.attempt, self.purpose, self.positions.to(device))

    def __len__(self) -> int:
        return len(self.positions)


def parameter_generators(seed: int, owner: str) -> Callable[[str], torch.Generator]:
    """Generators for initial weights, keyed by (seed, owner, parameter name)."""
    def generator(name: str) -> torch.Generator:
        # torch's CPU generator takes 32 bits of a seed.
        return torch.Generator().manual_seed(key_of(seed, "initial", owner, name) & _LOW)
    return generator
