"""The endless stream of batches: this rank's lanes, from any position, with any number of workers.

Workers write into memory that they share with the trainer. It is allocated once and reused as soon as no tensor refers
to it: for the kernel to provide fresh shared memory takes half as long as decoding into it.
"""

import mmap
import weakref
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from scalegan.data.reading.record_reader import OrderedReader, as_samples
from scalegan.data.reading.workers import Workers
from scalegan.errors import UserError

_PREFETCHED_TASKS = 2, 4    # per worker, min and max; a longer queue evens out other load on the cores
_PREFETCHED_BYTES = 64 << 20
_SPARE_SLOTS = 2            # one held by the trainer, one for the task submitted while a result is received
_TASK_SAMPLES = 64          # a task of only a few samples costs more to hand over than to run
_TASK_BYTES = 4 << 20

Facts = tuple[np.ndarray, np.ndarray | None]        # records and labels of a batch
Done = tuple[int, list[Facts], UserError | None]    # slot, facts of its batches, the error that ended it early


class StoredBatch(NamedTuple):
    """A rank's share of one batch, as stored: uint8 images [n, C, H, W], uint8 volumes [n, 1, D, H, W], or float
    points [n, 2]."""

    position: int
    samples: Tensor
    labels: Tensor | None
    records: Tensor | None = None


class Stream:
    """Takes batches in order, from `position` on. The position is the entire state: resuming replays nothing.

    Args:
        records: the reader, in the run's order.
        lanes: this rank's lanes.
        workers: number of loader processes; 0 loads in this one. A task is this rank's share of a batch, or of several
            if it is small; samples do not depend on which worker runs it.
        pin: return pinned memory, so that copies to a GPU overlap with its work.
    """

    def __init__(self, records: OrderedReader, lanes: range, position: int, workers: int, pin: bool = False) -> None:
        self.position, self.lanes, self.batch_size, self.pin = position, lanes, records.order.batch_size, pin
        self.share = len(lanes) * records.order.share
        batches = _batches_per_task(self.share, records.sample.itemsize) if workers else 1
        ahead = max(1, workers * _prefetched_tasks(batches * self.share * records.sample.itemsize))
        self._slots = _Slots(ahead + _SPARE_SLOTS, batches * self.share, records.sample)
        self._given, self._step = position, batches * self.batch_size
        self._ready: deque[StoredBatch | UserError] = deque()
        self._workers = Workers(_Work(records, lanes, self._slots), workers)
        self._finalizer = weakref.finalize(self, self._workers.stop)
        for _ in range(ahead):
            self._give_next()

    def close(self) -> None:
        """Stops the workers."""
        self._finalizer()

    def take(self) -> StoredBatch:
        """This rank's share of the next batch.

        Raises:
            UserError: if a record is damaged or a worker died.
        """
        if not self._ready:
            self._ready.extend(self._receive())
        if isinstance(self._ready[0], UserError):   # left in place: later calls raise it too
            raise self._ready[0]
        self.position += self.batch_size
        return self._ready.popleft()

    def _receive(self) -> Iterator[StoredBatch | UserError]:
        """The batches of the next task, up to the first that failed."""
        slot, facts, error = self._workers.take()
        samples = as_samples(self._slots.hand_over(slot))
        self._give_next()
        if self.pin:
            samples = samples.pin_memory()
        for number, (part, (records, labels)) in enumerate(zip(samples.split(self.share), facts)):
            position = self.position + number * self.batch_size
            yield StoredBatch(position, part, None if labels is None else torch.from_numpy(labels),
                              torch.from_numpy(records))
        if error is not None:
            yield error

    def _give_next(self) -> None:
        """Submits the next task: its first position and a free slot."""
        self._workers.give((self._given, self._slots.free.pop()))
        self._given += self._step


def _batches_per_task(share: int, sample_bytes: int) -> int:
    return max(1, min(_TASK_SAMPLES // share, _TASK_BYTES // (share * sample_bytes)))


def _prefetched_tasks(task_bytes: int) -> int:
    least, most = _PREFETCHED_TASKS
    return max(least, min(most, _PREFETCHED_BYTES // task_bytes))


class _Slots:
    """Memory that workers inherit when they are forked; `free` lists the unused slots."""

    def __init__(self, count: int, samples: int, sample: np.dtype) -> None:
        self.memory = [np.ndarray(samples, sample, mmap.mmap(-1, samples * sample.itemsize)) for _ in range(count)]
        self.free = list(range(count))

    def hand_over(self, slot: int) -> np.ndarray:
        """A filled slot, reclaimed once no tensor refers to it; a copy if no other slot is free."""
        memory = self.memory[slot]
        if not self.free:
            self.free.append(slot)
            return memory.copy()
        lease = memory[:]       # a separate object, alive as long as any tensor that uses it
        weakref.finalize(lease, self.free.append, slot).atexit = False
        return lease


class _Work:
    """Runs a task. Errors are returned as values: their traceback in a worker would help no one."""

    def __init__(self, records: OrderedReader, lanes: range, slots: _Slots) -> None:
        self.records, self.lanes, self.slots = records, lanes, slots

    def __call__(self, task: tuple[int, int]) -> Done:
        position, slot = task
        memory, order, facts = self.slots.memory[slot], self.records.order, []
        share = len(self.lanes) * order.share
        try:
            for begin in range(0, len(memory), share):
                positions = range(position, position + 1)
                facts.append(self.records.fill(memory[begin : begin + share], positions, self.lanes))
                position += order.batch_size
        except UserError as error:
            return slot, facts, error
        return slot, facts, None
