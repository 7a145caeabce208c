"""Storage readers, and `OrderedReader`, which reads their records in a run's order."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from scalegan.data.manifest import ImageFormat
from scalegan.data.reading.order import Endless, Order

Chunk = tuple[Tensor, Tensor | None]


class RecordReader(ABC):
    """A storage backend. It knows nothing of order: the caller names the records.

    Attributes:
        sizes: records per shard.
        sample: dtype and shape of a stored sample: uint8 or uint16 [H, W, C] for images, uint8 [1, D, H, W] for
            volumes, float32 [...] for anything else.
        labels: [N] classes or [N, K] attributes of all records, or None.
        keys: [N] names that match the records of paired sets, or None if the storage keeps none.
        remarks: what to know of the data, such as files that were passed over; a phrase each.
    """

    sizes: tuple[int, ...]
    sample: np.dtype
    labels: np.ndarray | None = None
    keys: Sequence[str] | None = None
    remarks: tuple[str, ...] = ()

    @abstractmethod
    def read(self, out: np.ndarray, records: np.ndarray) -> None:
        """Reads records, int64 [n], into `out` [n, ...], memory that a loader worker may share with the trainer.

        Raises:
            UserError: if a record is damaged or missing.
        """

    def expect(self, records: np.ndarray) -> None:  # noqa: B027 -- not every reader can make use of it
        """Announces the records to be read next, in storage order, so that the kernel can prefetch them."""


class OrderedReader:
    """Reads records in a run's order.

    Args:
        reader: the storage.
        order: which record comes where in the run.
    """

    def __init__(self, reader: RecordReader, order: Order | Endless) -> None:
        self.reader, self.order, self.sample = reader, order, reader.sample
        self._windows: dict[int, tuple[int, int]] = {}

    def fill(self, out: np.ndarray, positions: range, lanes: range) -> tuple[np.ndarray, np.ndarray | None]:
        """Reads the lanes' share of the batches that begin at `positions`; returns its record numbers and labels.

        Raises:
            UserError: if a record is damaged or missing.
        """
        for position in positions:
            for lane in lanes:
                self._expect(position, lane)
        records = np.concatenate([self.order.chunk(position, lane) for position in positions for lane in lanes])
        self.reader.read(out, records)
        return records, None if self.reader.labels is None else self.reader.labels[records]

    def chunk(self, position: int, lane: int) -> Chunk:
        """A lane's contribution, in newly allocated memory, and its labels: [n], [n, K] or None."""
        out = np.empty(self.order.share, self.sample)
        _, labels = self.fill(out, range(position, position + 1), range(lane, lane + 1))
        return as_samples(out), None if labels is None else torch.from_numpy(labels)

    def _expect(self, position: int, lane: int) -> None:
        """Announces each window to the reader as a lane enters it, so that reading is sequential."""
        window = self.order.window(position)
        if self._windows.get(lane) != window:
            self._windows[lane] = window
            self.reader.expect(self.order.window_records(window, lane))


def images_of(image: ImageFormat) -> np.dtype:
    """The `sample` of readers of images and volumes."""
    return np.dtype((image.dtype, image.shape))


def as_samples(stored: np.ndarray) -> Tensor:
    """The same memory as a tensor; images become [N, C, H, W] in channels_last."""
    tensor = torch.from_numpy(stored)
    return tensor.permute(0, 3, 1, 2) if tensor.dim() == 4 and stored.dtype.kind == "u" else tensor
