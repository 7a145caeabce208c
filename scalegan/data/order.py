"""Which record stands where in a run: pure arithmetic, shared by every storage backend.

Records 0 ... N-1 lie in shards, and shards are cut into *blocks* of consecutive records. Per epoch the blocks are
permuted, their records laid end to end, and the first L * n of them (n the largest possible) dealt as L contiguous
spans to L *lanes*; what is left, fewer than a batch, rotates with the permutation. A lane shuffles its span within
windows of a few dozen blocks, so that reading stays sequential inside a block. Batch b of an epoch is every lane's
b-th contribution of batch / L records, lanes in order.

Nothing here knows a rank or a worker: the number of either changes no sample. The loader's state is the position p.
"""

import itertools
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from scalegan.keys import key_of


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
        bounds = _windows(self._span_length, self.block_records * self.window_blocks)
        return epoch, int(np.searchsorted(bounds, batch * self.share, side="right")) - 1

    def window_records(self, window: tuple[int, int], lane: int) -> np.ndarray:
        """The records of a lane's window, sorted as they are stored."""
        epoch, index = window
        bounds = _windows(self._span_length, self.block_records * self.window_blocks)
        return np.sort(self._span(epoch, lane)[bounds[index] : bounds[index + 1]])

    @property
    def _span_length(self) -> int:
        return self.batches_per_epoch * self.share

    def _span(self, epoch: int, lane: int) -> np.ndarray:
        return _span(self, epoch, lane)


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
def _permutation(order: Order, epoch: int) -> tuple[np.ndarray, np.ndarray]:
    """The epoch's permutation of blocks, and where each permuted block begins among the records laid end to end."""
    _, lengths = _blocks(order)
    permutation = _generator(order.seed, "blocks", epoch).permutation(len(lengths))
    return permutation, np.concatenate([[0], np.cumsum(lengths[permutation])])


@lru_cache(maxsize=256)
def _span(order: Order, epoch: int, lane: int) -> np.ndarray:
    """A lane's records of an epoch, in order."""
    starts, lengths = _blocks(order)
    permutation, begins = _permutation(order, epoch)
    length = order._span_length
    low, high = lane * length, (lane + 1) * length
    first = int(np.searchsorted(begins, low, side="right")) - 1
    last = int(np.searchsorted(begins, high, side="left"))
    blocks = permutation[first:last]
    within = np.arange(begins[last] - begins[first]) - np.repeat(begins[first:last] - begins[first], lengths[blocks])
    records = (np.repeat(starts[blocks], lengths[blocks]) + within)[low - begins[first] : high - begins[first]]
    generator = _generator(order.seed, "window", epoch, lane)
    bounds = _windows(length, order.block_records * order.window_blocks)
    for begin, end in itertools.pairwise(bounds):
        generator.shuffle(records[begin:end])
    records.flags.writeable = False
    return records


def _windows(length: int, target: int) -> np.ndarray:
    """Bounds that cut `length` records into equal windows of `target` or somewhat more: a short last window would
    hold few blocks, and its batches few shards."""
    count = max(1, length // target)
    return np.arange(count + 1) * length // count


def _generator(*key: object) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=key_of(*key)))
