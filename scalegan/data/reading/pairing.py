"""Paired streams: the second follows the first's order, matched by key."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from scalegan.data.reading.order import Endless, Order
from scalegan.data.reading.record_reader import RecordReader
from scalegan.errors import UserError

_LISTED = 5     # unmatched keys listed in an error


@dataclass(frozen=True)
class PairedOrder:
    """The order of a stream that is paired with another.

    Args:
        leader: the other stream's order.
        partners: int64 [N]: for each of the leader's records, its partner.
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


def match_records(first: RecordReader, second: RecordReader, names: tuple[str, str]) -> np.ndarray:
    """For each record of `first`, the record of `second` with the same key, or with the same number if neither storage
    keeps keys.

    Raises:
        UserError: naming the records that have no partner, or several.
    """
    if (first.keys is None) != (second.keys is None):
        raise UserError(f"streams {names[0]} and {names[1]} are paired, but only {names[first.keys is None]} is "
                        "read from files, which have names to match; use backend=folder for both, or for neither")
    if first.keys is None:
        counts = [sum(reader.sizes) for reader in (first, second)]
        if counts[0] != counts[1]:
            raise UserError(f"streams {names[0]} and {names[1]} are paired, but hold {counts[0]} and {counts[1]} "
                            "records; prepare both from the same pairs")
        return np.arange(counts[0])
    for name, reader in zip(names, (first, second)):
        if repeated := [key for key, count in Counter(reader.keys).items() if count > 1]:
            raise UserError(f"stream {name} has several records called {repeated[0]}, so its partner is ambiguous; "
                            "rename them")
    numbers = {key: number for number, key in enumerate(second.keys)}
    unmatched = [f"{name}: {key}" for name, one, other in zip(names, (first, second), (second, first))
             for key in sorted(set(one.keys) - set(other.keys))]
    if unmatched:
        more = f" and {len(unmatched) - _LISTED} more" if len(unmatched) > _LISTED else ""
        raise UserError(f"these records of streams {names[0]} and {names[1]} have no partner of the same name: "
                        f"{', '.join(unmatched[:_LISTED])}{more}; add or remove them")
    return np.array([numbers[key] for key in first.keys], np.int64)
