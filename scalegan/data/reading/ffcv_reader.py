"""The FFCV backend: reads `data.beton` through FFCV's compiled pipelines, in the run's own order.

Workers are threads: compiled code releases the GIL, so several decode at once. Memory is handed over,
not copied: it is reused as soon as no tensor refers to it, and never before.
"""

import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from scalegan.data.beton_file import BETON, open_pipeline
from scalegan.data.manifest import load_set
from scalegan.data.reading.record_reader import OrderedReader, RecordReader, images_of
from scalegan.data.reading.stream import StoredBatch
from scalegan.data.reading.waiting import DataWait
from scalegan.errors import UserError

TASKS_AHEAD = 2             # per worker, including those in progress
_TASK_BATCHES, _TASK_BYTES = 8, 4 << 20
_JOIN_SECONDS = 10
Filled = tuple[Tensor, Tensor | None, Tensor]   # samples, labels and records of a task


class FfcvReader(RecordReader):
    """The records of a beton: uint8 or uint16 images, labels [N] or [N, K] or None.

    Raises:
        UserError: if FFCV or the file is missing, or the file does not match the index.
    """

    def __init__(self, folder: Path) -> None:
        self.manifest, self.index = load_set(folder)
        self.path = folder / BETON
        # Blocks end where shards end, so the sizes of the original shards give the same order as reading those.
        self.sizes = tuple(shard.records for shard in self.manifest.shards)
        self.labels = self.index.labels if len(self.index.labels) else None
        self.sample = images_of(self.manifest.image)
        self.pipeline = open_pipeline(self.path, self.manifest, self.index)
        self._file = os.open(self.path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)

    def read(self, out: np.ndarray, records: np.ndarray) -> None:
        self._compare(records, self.pipeline(records, out))

    def stored(self, records: np.ndarray) -> Iterator[bytes]:
        """The bytes of each record, unchecked."""
        for place, size in zip(self.pipeline.places[records].tolist(), self.pipeline.sizes[records].tolist()):
            yield self.pipeline.file[place : place + size].tobytes()

    def _compare(self, records: np.ndarray, checks: np.ndarray) -> None:
        """Raises UserError for a record whose bytes differ from those written, or cannot be decoded."""
        changed = checks[:, 0] != self.pipeline.checksums[records]
        if changed.any() or checks[:, 1].any():
            record = records[changed | (checks[:, 1] != 0)][0]
            reason = "its checksum differs" if changed.any() else "it cannot be decoded"
            raise UserError(f"record {record} in {self.path} is damaged ({reason}); remove that file and run "
                            "`scalegan prepare --format ffcv` again")

    def expect(self, records: np.ndarray) -> None:
        places, sizes = self.pipeline.places, self.pipeline.sizes
        for run in np.split(records, np.flatnonzero(np.diff(records) != 1) + 1):
            begin, end = int(places[run[0]]), int(places[run[-1]] + sizes[run[-1]])
            os.posix_fadvise(self._file, begin, end - begin, os.POSIX_FADV_WILLNEED)


class Room:
    """A pool of buffers of one shape. Each is lent to the caller of `take`, and returns once no tensor refers to it.

    Pinned memory is left for torch to recycle, since torch knows when a copy to the device has finished.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype, pin: bool) -> None:
        self.shape, self.dtype, self.pin = shape, dtype, pin
        self._free: deque[np.ndarray] = deque()

    def take(self) -> Tensor:
        if self.pin:
            return torch.empty(self.shape, dtype=getattr(torch, self.dtype.name), pin_memory=True)
        try:
            memory = self._free.pop()
        except IndexError:
            memory = np.empty(self.shape, self.dtype)
        lease = memory[:]       # a separate object, alive as long as any tensor that uses it
        weakref.finalize(lease, self._free.append, memory).atexit = False
        return torch.from_numpy(lease)


class FfcvStream:
    """Takes batches in order, from `position` on, as `Stream` does; the position is the entire state.

    Args:
        lanes: this rank's lanes.
        workers: number of threads; 0 decodes in the caller. A task is this rank's share of a batch, or of several if it
            is small. Any free thread runs it, but its place in the order is fixed, so workers change no sample.
        pin: return pinned memory.
    """

    def __init__(self, records: OrderedReader, lanes: range, position: int, workers: int, pin: bool = False) -> None:
        self.position, self.lanes, self.batch_size = position, lanes, records.order.batch_size
        self.share = len(lanes) * records.order.share
        batches = _batches_per_task(self.share * records.sample.itemsize) if workers else 1
        self._task = _Task(records, lanes, batches, Room((batches * self.share, *records.sample.shape),
                                                              records.sample.base, pin))
        self._ready: deque[tuple] = deque()
        self._threads = _Threads(self._task, range(position, sys.maxsize, batches * self.batch_size), workers)
        self._finalizer = weakref.finalize(self, self._threads.stop)

    def close(self) -> None:
        """Stops the workers."""
        self._finalizer()

    def take(self) -> StoredBatch:
        """This rank's share of the next batch.

        Raises:
            UserError: if a record is damaged or a worker died.
        """
        if not self._ready:
            samples, labels, records = self._threads.take() if self._threads.threads else self._task(self.position)
            parts = samples.split(self.share)
            label_parts = [None] * len(parts) if labels is None else labels.split(self.share)
            self._ready.extend(zip(parts, label_parts, records.split(self.share)))
        reals = StoredBatch(self.position, *self._ready.popleft())
        self.position += self.batch_size
        return reals


def _batches_per_task(share_bytes: int) -> int:
    """Several if images are small: decoding one takes less time than handing it out as a task."""
    return max(1, min(_TASK_BATCHES, _TASK_BYTES // share_bytes))


class _Task(NamedTuple):
    """Decodes `batches` batches at once, from a position on, into memory from `room`."""

    records: OrderedReader
    lanes: range
    batches: int
    room: Room

    def __call__(self, position: int) -> Filled:
        pixels, step = self.room.take(), self.records.order.batch_size
        positions = range(position, position + self.batches * step, step)
        records, labels = self.records.fill(pixels.numpy(), positions, self.lanes)
        found = None if labels is None else torch.from_numpy(labels)
        return pixels.permute(0, 3, 1, 2), found, torch.from_numpy(records)


class _Threads:
    """Threads that run tasks ahead of the trainer. What a task raises, `take` raises in place of its result."""

    def __init__(self, task: Callable[[int], Filled], positions: range, workers: int) -> None:
        self.task, self.positions = task, positions
        self.begun = self.taken = 0                         # task numbers
        self.ahead = workers * TASKS_AHEAD
        self.done: dict[int, Filled | BaseException] = {}    # by number
        self.stopping = False
        self.change = threading.Condition()
        self.threads = [threading.Thread(target=self._work, name="scalegan-ffcv", daemon=True) for _ in range(workers)]
        for thread in self.threads:
            thread.start()

    def take(self) -> Filled:
        """The next result in order."""
        with self.change:
            waiting = DataWait()
            while not self.change.wait_for(lambda: self.taken in self.done, waiting.poll_seconds):
                if not any(thread.is_alive() for thread in self.threads):
                    raise UserError("the loader threads died; run the same command to resume from the last checkpoint")
                waiting.poll()
            if isinstance(self.done[self.taken], BaseException):
                raise self.done[self.taken]     # on every call: skipping it would break the order
            result = self.done.pop(self.taken)
            self.taken += 1
            self.change.notify_all()
        return result

    def stop(self) -> None:
        with self.change:
            self.stopping = True
            self.change.notify_all()
        deadline = time.monotonic() + _JOIN_SECONDS
        for thread in self.threads:
            if thread is not threading.current_thread():    # the finalizer may run in one of them
                thread.join(max(0.0, deadline - time.monotonic()))

    def _work(self) -> None:
        while (number := self._next()) is not None:
            try:
                result = self.task(self.positions[number])
            except BaseException as error:
                result = error
            with self.change:
                self.done[number] = result
                if number == self.taken:
                    self.change.notify_all()
            del result      # a reference here would keep the memory from being reused

    def _next(self) -> int | None:
        """The number of the next task, once there is room for its result; None at the end."""
        with self.change:
            self.change.wait_for(lambda: self.stopping or self.begun < self.taken + self.ahead)
            self.begun += 1
            return None if self.stopping else self.begun - 1
