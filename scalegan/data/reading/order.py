"""The order of records in a run: pure arithmetic, shared by every storage backend.

Records 0 ... N-1 lie in shards, and shards are cut into *blocks* of consecutive records. Each epoch permutes the blocks
and concatenates their records, each block rotated to start at a random record. The first L * n of them (n as large as
possible) are dealt as L contiguous spans to L *lanes*; the remainder, less than a batch, rotates with the permutation.
A lane shuffles its span within windows of a few dozen blocks, so that reading stays sequential inside a block; the
permutation gives every window blocks from all over the disk. Batch b of an epoch is every lane's b-th contribution of
batch / L records, lanes in order.

Nothing here depends on ranks or workers, so their number changes no sample. The position is the loader's entire state.
"""

import itertools
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from scalegan.support.keys import key_of

VERSION = 2     # of this arithmetic; a run resumed under another version would see other records


@dataclass(frozen=True)
class Order:
    """The order of records in a run.

    Args:
        shard_sizes: records per shard, in shard order.
        batch_size: records per update, over all ranks.
        lanes: L; must divide batch_size.
        seed: the run's seed.
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
            raise ValueError(f"the dataset holds {self.records} records, fewer than one batch of {self.batch_size}; "
                             "lower batch_size")

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
        """Epoch of the batch that begins at `position` (images taken so far), and its index in that epoch."""
        return divmod(position // self.batch_size, self.batches_per_epoch)

    def chunk(self, position: int, lane: int) -> np.ndarray:
        """Records of a lane's contribution to the batch that begins at `position`, int64 [share]."""
        epoch, batch = self.locate(position)
        return self._span(epoch, lane)[batch * self.share : (batch + 1) * self.share]

    def batch(self, position: int) -> np.ndarray:
        """Records of the whole batch that begins at `position`, int64 [batch_size]."""
        return np.concatenate([self.chunk(position, lane) for lane in range(self.lanes)])

    def window(self, position: int) -> tuple[int, int]:
        """(epoch, index) of the window in which the chunk at `position` begins; the same for every lane."""
        epoch, batch = self.locate(position)
        return epoch, int(np.searchsorted(self._windows, batch * self.share, side="right")) - 1

    def window_records(self, window: tuple[int, int], lane: int) -> np.ndarray:
        """The records of a lane's window, in storage order."""
        epoch, index = window
        return np.sort(self._span(epoch, lane)[self._windows[index] : self._windows[index + 1]])

    @property
    def _span_length(self) -> int:
        return self.batches_per_epoch * self.share

    @cached_property
    def _windows(self) -> np.ndarray:
        """Bounds that cut a span into equal windows of at least the requested size, if the span is that long: a short
        last window would hold few blocks, and its batches records of few shards."""
        count = max(1, self._span_length // (self.block_records * self.window_blocks))
        return np.arange(count + 1) * self._span_length // count

    def _span(self, epoch: int, lane: int) -> np.ndarray:
        return _span(self, epoch, lane)


@dataclass(frozen=True)
class Endless:
    """The order of data generated on the fly: a record is its position in the run, and none comes twice."""

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
    """First record and length of each block; no block crosses the end of a shard."""
    starts, lengths, first = [], [], 0
    for size in order.shard_sizes:
        inside = np.arange(0, size, order.block_records)
        starts.append(first + inside)
        lengths.append(np.minimum(order.block_records, size - inside))
        first += size
    return np.concatenate(starts), np.concatenate(lengths)


@lru_cache(maxsize=4)
def _permutation(order: Order, epoch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The epoch's permutation of blocks, the offset of each permuted block in the concatenated records, and the record
    at which each block starts.

    Out of every `windows` neighbouring blocks, each window gets one; the short blocks at the ends of shards are dealt
    out likewise. In a plain permutation of a few hundred blocks, a window may get most of its records from one end of
    the disk.
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
    """A lane's records in an epoch, in order."""
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
