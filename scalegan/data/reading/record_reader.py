"""What a storage backend is to the stream: it writes samples where it is told to."""

from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor

from scalegan.data.reading.order import Order

Chunk = tuple[Tensor, Tensor | None]


class Chunks(ABC):
    """A storage backend, and how it stores one sample: uint8 [H, W, C], or float32 [2] for points."""

    order: Order
    sample: np.dtype

    @abstractmethod
    def fill(self, out: np.ndarray, position: int, lanes: range) -> np.ndarray | None:
        """Writes what lanes contribute to the batch that begins at `position`, and returns its labels.

        Args:
            out: [n, H, W, C] or [n, 2], memory that a loader worker may share with the trainer.

        Raises:
            UserError: where a record is damaged or missing.
        """

    def chunk(self, position: int, lane: int) -> Chunk:
        """A lane's contribution in memory of its own, and its labels: [n], [n, K] or None."""
        out = np.empty(self.order.share, self.sample)
        labels = self.fill(out, position, range(lane, lane + 1))
        return as_samples(out), None if labels is None else torch.from_numpy(labels)

    def records(self, position: int, lanes: range) -> np.ndarray:
        """The records that lanes contribute, int64 [n]."""
        return np.concatenate([self.order.chunk(position, lane) for lane in lanes])


def images_of(size: int, channels: int) -> np.dtype:
    """The `sample` of backends that store images."""
    return np.dtype((np.uint8, (size, size, channels)))


def as_samples(stored: np.ndarray) -> Tensor:
    """The same memory as a tensor; images as [N, C, H, W] in channels_last."""
    tensor = torch.from_numpy(stored)
    return tensor.permute(0, 3, 1, 2) if tensor.dim() == 4 else tensor
