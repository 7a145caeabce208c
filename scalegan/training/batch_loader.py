"""From stored samples to the batch that a phase sees, on the device."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from scalegan.data.pixels import from_uint8
from scalegan.data.reading.stream import Reals
from scalegan.games.base import Batch, Sample
from scalegan.randomness import Draws


@cache
def _copying(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)


@dataclass(frozen=True)
class StreamSettings:
    """How a stream's samples come to the networks.

    Args:
        flip: mirror images by keyed draws.
        conditions: every record's, on the device, from which those of fakes are drawn; or None.
        flips_with: the stream whose draws say which are mirrored: itself, or its partner.
    """

    flip: bool
    conditions: Tensor | None = None
    flips_with: str = ""


@dataclass(frozen=True)
class BatchLoader:
    """Moves, flips and scales samples on the device, and adds conditions and draws.

    Args:
        seed, attempt: key the draws.
        batch_size: over all ranks.
        offset: index of this rank's first sample within the global batch.
        streams: by name, the first first.
    """

    seed: int
    attempt: int
    batch_size: int
    offset: int
    device: torch.device
    streams: Mapping[str, StreamSettings]

    def prepare(self, taken: Mapping[str, Reals]) -> dict[str, Sample]:
        """Samples as the networks see them, on the device; phases that share a batch share the work."""
        found = {}
        for name, reals in taken.items():
            labelled = self.streams[name].conditions is not None and reals.labels is not None
            found[name] = Sample(self._scaled(name, reals), self._moved(reals.labels) if labelled else None,
                                 reals.records)
        return found

    def batch(self, samples: Mapping[str, Sample], position: int, purpose: str, updates: int) -> Batch:
        """The batch for the `updates`-th update of a phase, from prepared samples. Draws are keyed on the phase and its
        count of samples, so that phases that share samples still draw latents of their own.

        Args:
            position: images taken before the batch.
            purpose: the phase by which draws are keyed.
        """
        first = updates * self.batch_size + self.offset
        count = len(next(iter(samples.values())))
        tables = {name: stream.conditions for name, stream in self.streams.items() if stream.conditions is not None}
        return Batch(samples, self._draws(purpose, first, count), tables, position)

    def _moved(self, tensor: Tensor) -> Tensor:
        """On the device; to a GPU while it still computes what was asked of it before."""
        if self.device.type != "cuda":
            return tensor.to(self.device)
        copying, computing = _copying(self.device), torch.cuda.current_stream(self.device)
        with torch.cuda.stream(copying):
            moved = tensor.to(self.device, non_blocking=True)
        computing.wait_stream(copying)
        moved.record_stream(computing)
        return moved

    def _scaled(self, stream: str, reals: Reals) -> Tensor:
        samples = self._moved(reals.samples)
        if samples.dtype != torch.uint8:
            return samples
        if self.streams[stream].flip:
            draws = self._draws(self._flips(stream), reals.position + self.offset, len(samples))
            mirrored = draws.integers("side", 2).bool()[:, None, None, None]
            samples = torch.where(mirrored, samples.flip(3), samples)
        return from_uint8(samples)

    def _flips(self, stream: str) -> str:
        """Whose draws mirror a stream: one for the first and those that belong to it."""
        leader = self.streams[stream].flips_with or stream
        return "flip" if leader == next(iter(self.streams)) else f"flip/{leader}"

    def _draws(self, purpose: str, first: int, count: int) -> Draws:
        return Draws(self.seed, self.attempt, purpose, torch.arange(first, first + count, device=self.device))
