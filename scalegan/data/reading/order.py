"""Which record stands where in a run: pure arithmetic, shared by every storage backend.

Records 0 ... N-1 lie in shards, and shards are cut into *blocks* of consecutive records. Per epoch the blocks are
permuted, their records laid end to end, each block's from a place in it that differs, and the first L * n of them (n
the largest possible) dealt as L contiguous spans to L *lanes*; what is left, fewer than a batch, rotates with the
permutation. A lane shuffles its span within windows of a few dozen blocks, so that reading stays sequential inside a
block; the permutation gives every window blocks from all over the disk. Batch b of an epoch is every lane's b-th
contribution of batch / L records, lanes in order.

Nothing here knows a rank or a worker: the number of either changes no sample. The loader's state is the position p.
"""

import itertools
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from scalegan.support.keys import key_of

VERSION = 2     # of this arithmetic: another one, and a run goes on with other records than it would have had


@dataclass(frozen=True)
class Order:
    """The order of records in a run.

    Args:
        shard_sizes: records per shard, in shard order.
        batch_size: records an update takes, over all ranks.
        lanes: L; divides batch_size.
        seed: the run's.
        block_records: records per block.
        window_blocks: blocks that a lane shuffles together.
    """

    shard_sizes: tuple[int, ...]
    batch_size: int
    lanes: int
    seed: int
    block_records: int = 32
    window_blocks: int = 64

    def __post_init__(self) -> None:
        if self.batch_size % self.lanes:
            raise ValueError(f"lanes={self.lanes} does not divide batch_size={self.batch_size}")
        if self.records < self.batch_size:
            raise ValueError(f"the data set holds {self.records} records, fewer than one batch of {self.batch_size}")

    @cached_property
    def records(self) -> int:
        return sum(self.shard_sizes)

    @property
    def share(self) -> int:
        """Records a lane contributes to each batch."""
        return self.batch_size // self.lanes

    @cached_property
    def batches_per_epoch(self) -> int:
        return self.records // self.batch_size

    def locate(self, position: int) -> tuple[int, int]:
        """Epoch, and batch within it, of the batch that begins at `position` (images taken so far)."""
        return divmod(position // self.batch_size, self.batches_per_epoch)

    def chunk(self, position: int, lane: int) -> np.ndarray:
        """Records of a lane's contribution to the batch that begins at `position`, int64 [share]."""
        epoch, batch = self.locate(position)
        return self._span(epoch, lane)[batch * self.share : (batch + 1) * self.share]

    def batch(self, position: int) -> np.ndarray:
        """Records of the whole batch that begins at `position`, int64 [batch_size]."""
        return np.concatenate([self.chunk(position, lane) for lane in range(self.lanes)])

    def window(self, position: int) -> tuple[int, int]:
        """(epoch, index) of the window that a chunk at `position` begins in; the same for every lane."""
        epoch, batch = self.locate(position)
        return epoch, int(np.searchsorted(self._windows, batch * self.share, side="right")) - 1

    def window_records(self, window: tuple[int, int], lane: int) -> np.ndarray:
        """The records of a lane's window, sorted as they are stored."""
        epoch, index = window
        return np.sort(self._span(epoch, lane)[self._windows[index] : self._windows[index + 1]])

    @property
    def _span_length(self) -> int:
        return self.batches_per_epoch * self.share

    @cached_property
    def _windows(self) -> np.ndarray:
        """Bounds that cut a span into equal windows of as many records as asked for, or somewhat more: a short last
        window would hold few blocks, and its batches few shards."""
        count = max(1, self._span_length // (self.block_records * self.window_blocks))
        return np.arange(count + 1) * self._span_length // count

    def _span(self, epoch: int, lane: int) -> np.ndarray:
        return _span(self, epoch, lane)


@dataclass(frozen=True)
class Endless:
    """The order of data that is made on the fly: a record is its position in the run, and none comes twice."""

    batch_size: int
    lanes: int
    records = 2**62

    @property
    def share(self) -> int:
        return self.batch_size // self.lanes

    def chunk(self, position: int, lane: int) -> np.ndarray:
        return position + lane * self.share + np.arange(self.share)

    def window(self, position: int) -> tuple[int, int]:
        return 0, 0

    def window_records(self, window: tuple[int, int], lane: int) -> np.ndarray:
        return np.empty(0, np.int64)


@lru_cache(maxsize=8)
def _blocks(order: Order) -> tuple[np.ndarray, np.ndarray]:
    """First record and length of each block; a block never crosses a shard's end."""
    starts, lengths, first = [], [], 0
    for size in order.shard_sizes:
        inside = np.arange(0, size, order.block_records)
        starts.append(first + inside)
        lengths.append(np.minimum(order.block_records, size - inside))
        first += size
    return np.concatenate(starts), np.concatenate(lengths)


@lru_cache(maxsize=4)
def _permutation(order: Order, epoch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The epoch's permutation of blocks, where each permuted block begins among the records laid end to end, and the
    record in each block with which it begins.

    Of as many neighbouring blocks as there are windows each window gets one, of the short ones at the ends of shards
    as well. In a plain permutation of a few hundred blocks a window may have most of its records from one end of the
    disk.
    """
    _, lengths = _blocks(order)
    generator, windows = _generator(order.seed, "blocks", epoch), order.lanes * (len(order._windows) - 1)
    neighbourhoods = -(-len(lengths) // windows)
    window = np.empty(len(lengths), np.int64)
    by_length = lengths.argsort(kind="stable")
    window[by_length] = generator.random((neighbourhoods, windows)).argsort(axis=1).ravel()[: len(lengths)]
    permutation = np.lexsort((generator.random(len(lengths)), window))
    rolls = generator.integers(0, lengths)
    return permutation, np.concatenate([[0], np.cumsum(lengths[permutation])]), rolls


@lru_cache(maxsize=256)
def _span(order: Order, epoch: int, lane: int) -> np.ndarray:
    """A lane's records of an epoch, in order."""
    starts, lengths = _blocks(order)
    permutation, begins, rolls = _permutation(order, epoch)
    length = order._span_length
    low, high = lane * length, (lane + 1) * length
    first = int(np.searchsorted(begins, low, side="right")) - 1
    last = int(np.searchsorted(begins, high, side="left"))
    blocks = permutation[first:last]
    within = np.arange(begins[last] - begins[first]) - np.repeat(begins[first:last] - begins[first], lengths[blocks])
    within = (within + np.repeat(rolls[blocks], lengths[blocks])) % np.repeat(lengths[blocks], lengths[blocks])
    records = (np.repeat(starts[blocks], lengths[blocks]) + within)[low - begins[first] : high - begins[first]]
    generator = _generator(order.seed, "window", epoch, lane)
    for begin, end in itertools.pairwise(order._windows):
        generator.shuffle(records[begin:end])
    records.flags.writeable = False
    return records


def _generator(*key: object) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=key_of(*key)))
