"""Counter-based random draws: every number is a function of (seed, attempt, purpose, global position).

No rank, worker, device or earlier draw enters, so a run can be killed, resumed and moved to another number of
ranks without changing a sample. The generator is Philox4x32-10, which gives the same integers on every device; see
`scalegan.kernels.philox`, also for what holds of floating point numbers.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from scalegan.kernels import philox
from scalegan.support.keys import key_of

_LOW = 0xFFFFFFFF


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

    def uniform(self, name: str, *shape: int) -> Tensor:
        """Uniform in [0, 1), float32 [n, *shape]."""
        return self._drawn("uniform", {name: shape})[name]

    def normal(self, name: str, *shape: int) -> Tensor:
        """Standard normal, float32 [n, *shape]."""
        return self._drawn("normal", {name: shape})[name]

    def normals(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
        """What `normal` gives for each of these names and shapes, in one kernel on a GPU."""
        return self._drawn("normal", shapes)

    def integers(self, name: str, high: int, *shape: int) -> Tensor:
        """Uniform in 0 ... high - 1, int64 [n, *shape]."""
        return self._drawn("integers", {name: shape}, high)[name]

    def _drawn(self, kind: str, shapes: Mapping[str, tuple[int, ...]], high: int = 0) -> dict[str, Tensor]:
        keys = [key_of(self.seed, self.attempt, self.purpose, name) for name in shapes]
        found = philox.draw(kind, keys, [math.prod(shape) for shape in shapes.values()], self.positions, high)
        n = len(self.positions)
        return {name: values.reshape(n, *shape) for (name, shape), values in zip(shapes.items(), found)}

    def of(self, part: str) -> "Draws":
        """The same samples' draws of a part of the purpose, which shares no number with it."""
        return replace(self, purpose=f"{self.purpose}/{part}")

    def to(self, device: torch.device) -> "Draws":
        """The same draws, made on a device."""
        return Draws(self.seed, self.attempt, self.purpose, self.positions.to(device))

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, part: slice) -> "Draws":
        return replace(self, positions=self.positions[part])


def parameter_generators(seed: int, owner: str) -> Callable[[str], torch.Generator]:
    """Generators for initial weights, keyed by (seed, owner, parameter name)."""
    def generator(name: str) -> torch.Generator:
        # torch's CPU generator takes 32 bits of a seed.
        return torch.Generator().manual_seed(key_of(seed, "initial", owner, name) & _LOW)
    return generator
