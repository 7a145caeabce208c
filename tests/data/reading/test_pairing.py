"""Paired streams: partners by key or number, and the second in the first's order."""

from types import SimpleNamespace

import numpy as np
import pytest

from scalegan.data.reading.order import Endless
from scalegan.data.reading.pairing import PairedOrder, match_records
from scalegan.errors import UserError


def reader(keys: list[str] | None = None, sizes: tuple[int, ...] = ()) -> SimpleNamespace:
    return SimpleNamespace(keys=keys, sizes=sizes or (len(keys),))


def test_records_of_equal_keys_are_partners() -> None:
    found = match_records(reader(["a/1", "a/2", "b/1"]), reader(["b/1", "a/1", "a/2"]), ("photo", "map"))
    assert found.tolist() == [1, 2, 0]


def test_without_keys_records_are_paired_by_number() -> None:
    assert match_records(reader(None, (2, 3)), reader(None, (4, 1)), ("A", "B")).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("first, second, says", [
    (reader(["a", "b", "c"]), reader(["b", "c", "d"]), "have no partner of the same name: A: a, B: d; add or remove"),
    (reader([str(i) for i in range(9)]), reader(["0"]), "A: 1, A: 2, A: 3, A: 4, A: 5 and 3 more"),
    (reader(None, (2, 3)), reader(None, (4,)), "hold 5 and 4 records"),
    (reader(["a", "b"]), reader(None, (2,)), "but only A is read from files, which have names to match; use"),
    (reader(None, (2,)), reader(["a", "b"]), "only B is read from files"),
    (reader(["a", "b"]), reader(["a", "b", "b"]), "stream B has several records called b"),
])
def test_unpaired_records_are_named(first: SimpleNamespace, second: SimpleNamespace, says: str) -> None:
    with pytest.raises(UserError, match=says):
        match_records(first, second, ("A", "B"))


def test_the_second_follows_the_first() -> None:
    leader, partners = Endless(8, 2), np.arange(64)[::-1].copy()
    follower = PairedOrder(leader, partners)
    assert (follower.batch_size, follower.lanes, follower.share) == (leader.batch_size, leader.lanes, leader.share)
    lead = np.concatenate([leader.chunk(position, lane) for position in (0, 8, 16) for lane in (0, 1)])
    follow = np.concatenate([follower.chunk(position, lane) for position in (0, 8, 16) for lane in (0, 1)])
    assert np.array_equal(follow, 63 - lead)
