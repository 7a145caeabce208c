"""WebDataset shards, read by byte offset in the run's own order."""

import os
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from scalegan.data.cache import Remote
from scalegan.data.codec import decode_into
from scalegan.data.decode import pixel_buffer
from scalegan.data.manifest import Index, Manifest, digest_of
from scalegan.data.order import Order
from scalegan.errors import UserError

OPEN_SHARDS = 128


class WebDatasetChunks:
    """Chunks of a shard set: `chunk(position, lane)` -> (uint8 [n, C, H, W], labels [n] or [n, K] or None).

    Args:
        folder: of manifest and index, and of the shards unless they are remote.
        remote: where shards are fetched from, for a set by URL.
    """

    def __init__(self, folder: Path, order_of: Callable[[tuple[int, ...]], Order],
                 remote: Remote | None = None) -> None:
        self.folder, self.remote = folder, remote
        self.manifest = Manifest.load(folder)
        self.index = Index.load(folder / "index.safetensors")
        if len(self.index.offsets) != self.manifest.records:
            raise UserError(f"{folder}: index.safetensors has {len(self.index.offsets)} records, manifest.json "
                            f"{self.manifest.records}; prepare the data again")
        if remote is None:
            self._check_files()
        sizes = tuple(shard.records for shard in self.manifest.shards)
        self.order: Order = order_of(sizes)
        self._first = np.concatenate([[0], np.cumsum(sizes)])
        self._files: OrderedDict[int, int] = OrderedDict()
        self._windows: dict[int, tuple[int, int]] = {}

    def _check_files(self) -> None:
        for shard in self.manifest.shards:
            path = self.folder / shard.name
            size = path.stat().st_size if path.is_file() else None
            if size != shard.bytes:
                state = "is missing" if size is None else f"has {size} bytes, not {shard.bytes}"
                raise UserError(f"{path} {state}; prepare the data again")

    def chunk(self, position: int, lane: int) -> tuple[Tensor, Tensor | None]:
        self._read_ahead(position, lane)
        records = self.order.chunk(position, lane)
        pixels, rows = pixel_buffer(len(records), self.manifest.image)
        for row, record in zip(rows, records.tolist()):
            self._decode(row, record)
        labels = self.index.labels
        return pixels, torch.from_numpy(labels[records]) if len(labels) else None

    def _decode(self, out: np.ndarray, record: int) -> None:
        data = self._bytes(record)
        try:
            if digest_of(data) != self.index.digests[record]:
                raise ValueError("its checksum differs")
            decode_into(out, data, self.manifest.image)
        except (ValueError, OSError) as error:
            shard = int(np.searchsorted(self._first, record, side="right")) - 1
            raise UserError(f"record {record} in {self.folder / self.manifest.shards[shard].name} is damaged "
                            f"({error}); prepare that shard again") from error

    def _bytes(self, record: int) -> bytes:
        shard = int(np.searchsorted(self._first, record, side="right")) - 1
        offset, size = int(self.index.offsets[record]), int(self.index.sizes[record])
        if self.remote is not None:
            return self.remote.read(self.manifest.shards[shard], offset, size)
        return os.pread(self._open(shard), size, offset)

    def _open(self, shard: int) -> int:
        if shard in self._files:
            self._files.move_to_end(shard)
            return self._files[shard]
        if len(self._files) == OPEN_SHARDS:
            os.close(self._files.popitem(last=False)[1])
        path = self.folder / self.manifest.shards[shard].name
        try:
            self._files[shard] = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise UserError(f"cannot open {path}: {error.strerror}; put the shard back and run again") from error
        return self._files[shard]

    def _read_ahead(self, position: int, lane: int) -> None:
        """When a lane enters a window, asks the kernel for the window's blocks, so that reading is sequential."""
        if self.remote is not None:
            return
        window = self.order.window(position)
        if self._windows.get(lane) == window:
            return
        self._windows[lane] = window
        records = self.order.window_records(window, lane)
        breaks = np.flatnonzero(np.diff(records) != 1) + 1
        for run in np.split(records, breaks):
            shard = int(np.searchsorted(self._first, run[0], side="right")) - 1
            run = run[run < self._first[shard + 1]]
            begin = int(self.index.offsets[run[0]])
            end = int(self.index.offsets[run[-1]] + self.index.sizes[run[-1]])
            os.posix_fadvise(self._open(shard), begin, end - begin, os.POSIX_FADV_WILLNEED)
