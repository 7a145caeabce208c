"""The FFCV backend: `data.beton` read through FFCV's compiled pipelines, in the run's own order.

Workers are threads: compiled code holds no lock of Python's, so several decode at once, each a rank's whole share of a
batch. Batch i goes to worker i mod n, which changes no sample. Memory is handed over, not copied: it is used again as
soon as nobody holds a tensor of it, and never before.
"""

import os
import queue
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from scalegan.data.ffcv_store import BETON, open_pipeline
from scalegan.data.manifest import Index, Manifest
from scalegan.data.order import Order
from scalegan.data.stream import Chunk, Reals
from scalegan.errors import UserError

PREFETCHED_BATCHES = 2      # per worker
_PATIENCE_SECONDS = 60
_LOOK_SECONDS = 0.2


class FfcvChunks:
    """Chunks of a beton: `chunk(position, lane)` -> (uint8 [n, C, H, W], labels [n] or [n, K] or None).

    Raises:
        UserError: where FFCV or the file is missing, or the file is not that of the index.
    """

    def __init__(self, folder: Path, order_of: Callable[[tuple[int, ...]], Order]) -> None:
        self.manifest = Manifest.load(folder)
        self.index = Index.load(folder / "index.safetensors")
        self.path = folder / BETON
        # Blocks end where shards end; with the sizes of those the records came from, the order is theirs.
        self.order: Order = order_of(tuple(shard.records for shard in self.manifest.shards))
        self.pipeline = open_pipeline(self.path, self.manifest, self.index)
        self._file = os.open(self.path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)
        self._windows: dict[range, tuple[int, int]] = {}

    def chunk(self, position: int, lane: int) -> Chunk:
        return self.share(position, range(lane, lane + 1), Room(self.share_shape(1), pin=False))

    def share_shape(self, lanes: int) -> tuple[int, int, int, int]:
        """[n, H, W, C] of what so many lanes contribute to a batch."""
        image = self.manifest.image
        return lanes * self.order.share, image.size, image.size, image.channels

    def share(self, position: int, lanes: range, room: "Room") -> Chunk:
        """What lanes contribute to the batch that begins at `position`, in memory taken from `room`."""
        self._read_ahead(position, lanes)
        records = np.concatenate([self.order.chunk(position, lane) for lane in lanes])
        tensor = room.take()
        self._compare(records, self.pipeline(records, tensor.numpy()))
        labels = self.index.labels
        return tensor.permute(0, 3, 1, 2), torch.from_numpy(labels[records]) if len(labels) else None

    def _compare(self, records: np.ndarray, checks: np.ndarray) -> None:
        """Raises UserError for records whose bytes are not those that were written, or no image."""
        changed = checks[:, 0] != self.pipeline.checksums[records]
        if changed.any() or checks[:, 1].any():
            record = records[changed | (checks[:, 1] != 0)][0]
            reason = "its checksum differs" if changed.any() else "it cannot be decoded"
            raise UserError(f"record {record} in {self.path} is damaged ({reason}); remove that file and run "
                            "`scalegan prepare` with --format ffcv again")

    def _read_ahead(self, position: int, lanes: range) -> None:
        """When lanes enter a window, asks the kernel for the window's blocks, so that reading is sequential."""
        window = self.order.window(position)
        if self._windows.get(lanes) == window:
            return
        self._windows[lanes] = window
        places, sizes = self.pipeline.places, self.pipeline.sizes
        for lane in lanes:
            records = self.order.window_records(window, lane)
            for run in np.split(records, np.flatnonzero(np.diff(records) != 1) + 1):
                begin, end = int(places[run[0]]), int(places[run[-1]] + sizes[run[-1]])
                os.posix_fadvise(self._file, begin, end - begin, os.POSIX_FADV_WILLNEED)


class Room:
    """Memory for batches of one shape. Each goes to who takes it, and comes back when no tensor of it is left.

    Pinned memory is torch's to recycle, which knows when a copy to the device has ended.
    """

    def __init__(self, shape: tuple[int, ...], pin: bool) -> None:
        self.shape, self.pin = shape, pin
        self._free: deque[np.ndarray] = deque()

    def take(self) -> Tensor:
        if self.pin:
            return torch.empty(self.shape, dtype=torch.uint8, pin_memory=True)
        try:
            memory = self._free.pop()
        except IndexError:
            memory = np.empty(self.shape, np.uint8)
        lease = memory[:]       # an array of its own, which lives as long as any tensor over it
        weakref.finalize(lease, self._free.append, memory).atexit = False
        return torch.from_numpy(lease)


class FfcvStream:
    """Takes batches in order, from `position` on, as `Stream` does; the position is the whole state.

    Args:
        lanes: this rank's.
        workers: threads; 0 decodes here.
        pin: return pinned memory.
    """

    def __init__(self, chunks: FfcvChunks, lanes: range, position: int, workers: int, pin: bool = False) -> None:
        self.position, self.lanes, self.batch_size = position, lanes, chunks.order.batch_size
        room = Room(chunks.share_shape(len(lanes)), pin)
        self._share = lambda position: chunks.share(position, lanes, room)
        self._workers = deque(_Worker(self._share, position + number * self.batch_size, workers * self.batch_size)
                              for number in range(workers))
        weakref.finalize(self, _stop, list(self._workers))
        for worker in self._workers:
            worker.start()

    def take(self) -> Reals:
        """The next batch's share.

        Raises:
            UserError: where a record is damaged or a worker died.
        """
        if self._workers:
            samples, labels = self._workers[0].take()
            self._workers.rotate(-1)
        else:
            samples, labels = self._share(self.position)
        reals = Reals(self.position, samples, labels)
        self.position += self.batch_size
        return reals


class _Worker(threading.Thread):
    """Decodes every n-th batch ahead of time. What it raises ends up with who waits for the batch."""

    def __init__(self, share: Callable[[int], Chunk], position: int, step: int) -> None:
        super().__init__(name="scalegan-ffcv", daemon=True)
        self.share, self.position, self.step = share, position, step
        self.shelf: queue.Queue[Chunk | BaseException] = queue.Queue(PREFETCHED_BATCHES)
        self.stopping = threading.Event()

    def run(self) -> None:
        try:
            while not self.stopping.is_set():
                self._put(self.share(self.position))
                self.position += self.step
        except BaseException as error:
            self._put(error)

    def take(self) -> Chunk:
        waited = 0.0
        while True:
            alive = self.is_alive()     # asked first: what a dying thread has put is found below
            try:
                item = self.shelf.get(timeout=_LOOK_SECONDS)
                break
            except queue.Empty:
                waited += _LOOK_SECONDS
            if not alive:
                raise UserError("a loader thread died without a word; run again to go on from the last checkpoint")
            if waited >= _PATIENCE_SECONDS:
                print(f"scalegan: waiting for data since {_PATIENCE_SECONDS} s; is the disk slow?", file=sys.stderr)
                waited = 0.0
        if isinstance(item, BaseException):
            raise item
        return item

    def _put(self, item: Chunk | BaseException) -> None:
        while not self.stopping.is_set():
            try:
                self.shelf.put(item, timeout=_LOOK_SECONDS)
                return
            except queue.Full:
                continue


def _stop(workers: list[_Worker]) -> None:
    for worker in workers:
        worker.stopping.set()
    for worker in workers:
        worker.join(_PATIENCE_SECONDS)
