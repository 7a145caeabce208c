"""From stored samples to the batch that a phase sees, on the device."""

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from scalegan.data.pixels import from_uint8
from scalegan.data.reading.stream import Reals
from scalegan.games.base import Batch
from scalegan.randomness import Draws


@cache
def _copying(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)


@dataclass(frozen=True)
class Feed:
    """Moves, flips and scales reals on the device, and adds labels for fakes and draws.

    Args:
        seed, attempt: key the draws.
        offset: index of this rank's first sample within the global batch.
        flip: mirror images by keyed draws.
        label_table: every record's label, from which fakes' labels are drawn; or None.
    """

    seed: int
    attempt: int
    batch_size: int
    offset: int
    device: torch.device
    flip: bool
    label_table: Tensor | None

    def prepare(self, reals: Reals) -> Reals:
        """Reals as the networks see them, on the device; phases that share a batch share the work."""
        labelled = self.label_table is not None and reals.labels is not None
        labels = self._moved(reals.labels) if labelled else None
        return Reals(reals.position, self._scaled(reals), labels)

    def batch(self, reals: Reals, phase: str, updates: int) -> Batch:
        """The batch for the `updates`-th update of a phase, from prepared reals. Draws are keyed on the phase and its
        count of samples, so that phases that share reals still draw latents of their own."""
        first = updates * self.batch_size + self.offset
        draws = self._draws(phase, first, len(reals.samples))
        return Batch(reals.samples, reals.labels, self._fake_labels(draws), draws, reals.position)

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

    def _scaled(self, reals: Reals) -> Tensor:
        samples = self._moved(reals.samples)
        if samples.dtype != torch.uint8:
            return samples
        if self.flip:
            draws = self._draws("flip", reals.position + self.offset, len(samples))
            mirrored = draws.integers("side", 2).bool()[:, None, None, None]
            samples = torch.where(mirrored, samples.flip(3), samples)
        return from_uint8(samples)

    def _fake_labels(self, draws: Draws) -> Tensor | None:
        """From the data's own distribution: the label of a record drawn at random."""
        if self.label_table is None:
            return None
        return self.label_table[draws.integers("fake_label", len(self.label_table))]

    def _draws(self, purpose: str, first: int, count: int) -> Draws:
        return Draws(self.seed, self.attempt, purpose, torch.arange(first, first + count, device=self.device))
