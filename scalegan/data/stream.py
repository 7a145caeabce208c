"""The endless stream of batches: this rank's lanes, from any position, by any number of workers."""

import weakref
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from scalegan.data.order import Order
from scalegan.errors import UserError

Chunk = tuple[Tensor, Tensor | None]
PREFETCHED_CHUNKS = 4


class Chunks(Protocol):
    """A storage backend: what a lane contributes to the batch that begins at a position."""

    order: Order

    def chunk(self, position: int, lane: int) -> Chunk: ...


class Reals(NamedTuple):
    """A rank's share of one batch, as stored: uint8 images [n, C, H, W] or float points [n, 2]."""

    position: int
    samples: Tensor
    labels: Tensor | None


class Stream:
    """Takes batches in order, from `position` on. The position is the whole state: resuming replays nothing.

    Args:
        chunks: the backend.
        lanes: this rank's.
        workers: loader processes; 0 loads here. Chunk i goes to worker i mod `workers`, so none changes a sample.
        pin: return pinned memory, for copies to a GPU beside its work.
        start_worker: called in each new worker.
    """

    def __init__(self, chunks: Chunks, lanes: range, position: int, workers: int, pin: bool = False,
                 start_worker: Callable[[], None] | None = None) -> None:
        self.position, self.lanes, self.batch_size = position, lanes, chunks.order.batch_size
        loader = DataLoader(
            _ByPosition(chunks), sampler=_Schedule(position, self.batch_size, lanes), batch_size=None,
            num_workers=workers, pin_memory=pin, generator=torch.Generator(),
            worker_init_fn=_Start(start_worker) if workers else None,
            prefetch_factor=PREFETCHED_CHUNKS if workers else None, multiprocessing_context="fork" if workers else None)
        self._chunks = iter(loader)
        # Workers ignore SIGTERM, by which multiprocessing would end them at exit, and then wait for ever.
        self._finalizer = weakref.finalize(self, _shut_down, self._chunks)

    def close(self) -> None:
        """Ends the workers."""
        self._finalizer()

    def take(self) -> Reals:
        """The next batch's share.

        Raises:
            UserError: where a record is damaged or a worker died.
        """
        try:
            chunks = [self._next() for _ in self.lanes]
        except RuntimeError as error:
            if not is_worker_death(error):
                raise
            raise worker_death(error) from error
        samples, labels = zip(*chunks)
        reals = Reals(self.position, torch.cat(samples), None if labels[0] is None else torch.cat(labels))
        self.position += self.batch_size
        return reals

    def _next(self) -> Chunk:
        chunk = next(self._chunks)
        if isinstance(chunk, UserError):
            raise chunk
        return chunk


def is_worker_death(error: RuntimeError) -> bool:
    """Whether torch reports a dead worker; it does so wherever the main thread happens to be."""
    return "DataLoader worker" in str(error)


def worker_death(error: RuntimeError) -> UserError:
    return UserError(f"a loader worker died ({str(error).splitlines()[0]}); if memory ran out, lower data.workers; "
                     "run again to go on from the last checkpoint")


def _shut_down(chunks: Iterator[Chunk]) -> None:
    if hasattr(chunks, "_shutdown_workers"):
        chunks._shutdown_workers()
        for worker in chunks._workers:  # those that did not hear
            worker.kill()


class _ByPosition(Dataset):
    """A backend as a map-style data set; errors travel as values, for their stack in a worker helps nobody."""

    def __init__(self, chunks: Chunks) -> None:
        self.chunks = chunks

    def __getitem__(self, key: tuple[int, int]) -> Chunk | UserError:
        try:
            return self.chunks.chunk(*key)
        except UserError as error:
            return error


class _Schedule:
    """(position, lane) without end."""

    def __init__(self, position: int, batch_size: int, lanes: range) -> None:
        self.position, self.batch_size, self.lanes = position, batch_size, lanes

    def __iter__(self) -> Iterator[tuple[int, int]]:
        position = self.position
        while True:
            for lane in self.lanes:
                yield position, lane
            position += self.batch_size


class _Start:
    def __init__(self, start_worker: Callable[[], None] | None) -> None:
        self.start_worker = start_worker

    def __call__(self, number: int) -> None:
        torch.set_num_threads(1)
        if self.start_worker is not None:
            self.start_worker()
