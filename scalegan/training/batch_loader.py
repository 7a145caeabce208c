"""Turns stored samples into the batch that a phase sees, on the device."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from scalegan.data.pixels import LEVELS, from_levels
from scalegan.data.reading.stream import StoredBatch
from scalegan.data.spec import Latents
from scalegan.data.vectors import VectorTable
from scalegan.games.base import Batch, Sample
from scalegan.randomness import Draws


@cache
def _copy_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)


@dataclass(frozen=True)
class StreamSettings:
    """How a stream's samples are prepared for the networks.

    Args:
        flip: mirror images by keyed draws.
        conditions: of all records, on the device, to draw the conditions of fakes from; None without conditions.
        flips_with: the stream whose draws decide which images are mirrored, such as a partner; empty for its own.
        latents: how its latents are scaled; None for other samples.
    """

    flip: bool
    conditions: Tensor | VectorTable | None = None
    flips_with: str = ""
    latents: Latents | None = None


@dataclass(frozen=True)
class BatchLoader:
    """Moves, flips and scales samples on the device, and adds conditions and draws.

    Args:
        seed, attempt: part of every draw's key.
        batch_size: over all ranks.
        offset: index of this rank's first sample within the global batch.
        streams: settings by stream name; the game's first stream comes first.
    """

    seed: int
    attempt: int
    batch_size: int
    offset: int
    device: torch.device
    streams: Mapping[str, StreamSettings]

    def prepare(self, taken: Mapping[str, StoredBatch]) -> dict[str, Sample]:
        """Prepares samples on the device as the networks see them; phases that share a batch share the result."""
        found = {}
        for name, reals in taken.items():
            labelled = self.streams[name].conditions is not None and reals.labels is not None
            found[name] = Sample(self._scaled(name, reals), self._conditions(name, reals) if labelled else None,
                                 reals.records)
        return found

    def batch(self, samples: Mapping[str, Sample], images: int, purpose: str, updates: int) -> Batch:
        """Builds the batch for a phase's update number `updates` from prepared samples. Draws are keyed on the phase
        and its sample count, so phases that share samples still draw their own latents.

        Args:
            images: images taken before the iteration.
            purpose: the phase that keys the draws.
        """
        first = updates * self.batch_size + self.offset
        count = len(next(iter(samples.values())))
        tables = {name: stream.conditions for name, stream in self.streams.items() if stream.conditions is not None}
        return Batch(samples, self._draws(purpose, first, count), tables, images)

    def _conditions(self, stream: str, reals: StoredBatch) -> Tensor:
        """Classes, attributes, or one of each record's vectors by a draw keyed on its position in the run."""
        labels, table = self._to_device(reals.labels), self.streams[stream].conditions
        if not isinstance(table, VectorTable):
            return labels
        purpose = "vector" if stream == next(iter(self.streams)) else f"vector/{stream}"
        return table.of(labels, self._draws(purpose, reals.position + self.offset, len(labels)), "which")

    def _to_device(self, tensor: Tensor) -> Tensor:
        """Copies a tensor to the device; a copy to a GPU overlaps with the work already queued there."""
        if self.device.type != "cuda":
            return tensor.to(self.device)
        copying, computing = _copy_stream(self.device), torch.cuda.current_stream(self.device)
        with torch.cuda.stream(copying):
            moved = tensor.to(self.device, non_blocking=True)
        computing.wait_stream(copying)
        moved.record_stream(computing)
        return moved

    def _scaled(self, stream: str, reals: StoredBatch) -> Tensor:
        samples = self._to_device(reals.samples)
        if self.streams[stream].latents is not None:
            return self._drawn(stream, reals, samples)
        if samples.dtype not in LEVELS:
            return samples
        if self.streams[stream].flip:
            mirrored = self._mirrored(stream, reals).bool().view(-1, *[1] * (samples.dim() - 1))
            samples = torch.where(mirrored, samples.flip(-1), samples)
        return from_levels(samples)

    def _drawn(self, stream: str, reals: StoredBatch, stored: Tensor) -> Tensor:
        """Latents from the posteriors of images, or of their mirror images: [n, views, 2, C, h, w] -> [n, C, h, w]."""
        view = stored[:, 0]
        if self.streams[stream].flip:
            view = torch.where(self._mirrored(stream, reals).bool().view(-1, 1, 1, 1, 1), stored[:, 1], view)
        purpose = "posterior" if stream == next(iter(self.streams)) else f"posterior/{stream}"
        noise = self._draws(purpose, reals.position + self.offset, len(stored)).normal("noise", *stored.shape[3:])
        return self.streams[stream].latents.drawn(view, noise).contiguous(memory_format=torch.channels_last)

    def _mirrored(self, stream: str, reals: StoredBatch) -> Tensor:
        """0 or 1 for each sample."""
        return self._draws(self._flip_purpose(stream), reals.position + self.offset, len(reals.samples)).integers(
            "side", 2)

    def _flip_purpose(self, stream: str) -> str:
        """The purpose that keys a stream's flips; the first stream and its partners share one."""
        leader = self.streams[stream].flips_with or stream
        return "flip" if leader == next(iter(self.streams)) else f"flip/{leader}"

    def _draws(self, purpose: str, first: int, count: int) -> Draws:
        return Draws(self.seed, self.attempt, purpose, torch.arange(first, first + count, device=self.device))
