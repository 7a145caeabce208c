"""Streams of pairs: the second follows the first's order, by equal keys."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from scalegan.data.reading.order import Endless, Order
from scalegan.data.reading.record_reader import RecordReader
from scalegan.errors import UserError

_NAMED = 5      # unmatched keys that an error tells


@dataclass(frozen=True)
class Following:
    """The order of a stream that belongs to another.

    Args:
        leader: the other's order.
        partners: int64 [N]: of each of the other's records, the one that belongs to it.
    """

    leader: Order | Endless
    partners: np.ndarray

    @property
    def batch_size(self) -> int:
        return self.leader.batch_size

    @property
    def lanes(self) -> int:
        return self.leader.lanes

    @property
    def share(self) -> int:
        return self.leader.share

    @property
    def records(self) -> int:
        return self.leader.records

    def chunk(self, position: int, lane: int) -> np.ndarray:
        return self.partners[self.leader.chunk(position, lane)]

    def window(self, position: int) -> tuple[int, int]:
        return self.leader.window(position)

    def window_records(self, window: tuple[int, int], lane: int) -> np.ndarray:
        return np.sort(self.partners[self.leader.window_records(window, lane)])


def partners_of(first: RecordReader, second: RecordReader, names: tuple[str, str]) -> np.ndarray:
    """Of each record of `first` the one of `second` with the same key; where neither's storage keeps keys, that of the
    same number.

    Raises:
        UserError: naming the records that have no partner, or several.
    """
    if (first.keys is None) != (second.keys is None):
        raise UserError(f"streams {names[0]} and {names[1]} are pairs, but only {names[first.keys is None]} is of "
                        "files, which have names; read both with backend=folder, or neither")
    if first.keys is None:
        counts = [sum(reader.sizes) for reader in (first, second)]
        if counts[0] != counts[1]:
            raise UserError(f"streams {names[0]} and {names[1]} are pairs, but hold {counts[0]} and {counts[1]} "
                            "records; prepare both from the same pairs")
        return np.arange(counts[0])
    for name, reader in zip(names, (first, second)):
        if twice := [key for key, count in Counter(reader.keys).items() if count > 1]:
            raise UserError(f"stream {name} has several records called {twice[0]}, which cannot all be one's partner; "
                            "rename them")
    numbers = {key: number for number, key in enumerate(second.keys)}
    alone = [f"{name}: {key}" for name, one, other in zip(names, (first, second), (second, first))
             for key in sorted(set(one.keys) - set(other.keys))]
    if alone:
        more = f" and {len(alone) - _NAMED} more" if len(alone) > _NAMED else ""
        raise UserError(f"these records of streams {names[0]} and {names[1]} have no partner of the same name: "
                        f"{', '.join(alone[:_NAMED])}{more}; add or remove them")
    return np.array([numbers[key] for key in first.keys], np.int64)
