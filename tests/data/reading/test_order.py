"""The order of records: permutations, mixing, lanes, and resuming at any position at once."""

import itertools
import time

import numpy as np
import pytest

from scalegan.data.reading.order import Order

# Order(shard sizes, batch, lanes, seed, block, window). Some sizes divide nothing; some shards are tiny.
ORDERS = {
    "equal shards": Order((100,) * 10, 20, 4, 0, 10, 5),
    "odd shards": Order((97, 5, 203, 1, 60), 24, 3, 1, 7, 4),
    "one shard": Order((333,), 10, 10, 2, 32, 64),
    "no remainder": Order((64, 64), 32, 2, 3, 8, 2),
    "one batch": Order((70,), 64, 4, 4, 8, 2),
    "one lane": Order((50, 41), 9, 1, 5, 4, 3),
}
orders = pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS.keys())


def epoch_of(order: Order, epoch: int) -> np.ndarray:
    """Every record of an epoch, as batches [batches, batch_size]."""
    first = epoch * order.batches_per_epoch * order.batch_size
    return np.stack([order.batch(first + i * order.batch_size) for i in range(order.batches_per_epoch)])


@orders
def test_an_epoch_takes_no_record_twice_and_leaves_out_less_than_a_batch(order: Order) -> None:
    for epoch in range(3):
        taken = epoch_of(order, epoch).ravel()
        assert taken.min() >= 0 and taken.max() < order.records
        assert len(np.unique(taken)) == len(taken) == order.records // order.batch_size * order.batch_size


@orders
def test_epochs_and_seeds_differ(order: Order) -> None:
    other = Order(order.shard_sizes, order.batch_size, order.lanes, order.seed + 1, order.block_records,
                  order.window_blocks)
    assert not np.array_equal(epoch_of(order, 0), epoch_of(order, 1))
    assert not np.array_equal(epoch_of(order, 0), epoch_of(other, 0))


@pytest.mark.parametrize("name", ["odd shards", "one shard", "one batch", "one lane"])
def test_the_remainder_rotates(name: str) -> None:
    """No record is left out forever."""
    order = ORDERS[name]
    missed = [set(range(order.records)) - set(epoch_of(order, epoch).ravel().tolist()) for epoch in range(40)]
    assert all(missed)
    assert not set.intersection(*missed)
    assert len({frozenset(m) for m in missed}) > 4


@orders
def test_every_record_is_equally_likely(order: Order) -> None:
    counts = np.bincount(np.concatenate([epoch_of(order, e).ravel() for e in range(50)]), minlength=order.records)
    assert counts.min() >= 50 * 0.4


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_ranks_together_take_the_batch_in_order(ranks: int) -> None:
    order = ORDERS["equal shards"]
    for position in range(0, 2400, 20):
        own = order.lanes // ranks
        shares = [np.concatenate([order.chunk(position, lane) for lane in range(r * own, (r + 1) * own)])
                  for r in range(ranks)]
        assert {len(s) for s in shares} == {20 // ranks}
        assert np.array_equal(np.concatenate(shares), order.batch(position))


def test_a_new_object_gives_the_same_records() -> None:
    """Nothing depends on earlier calls."""
    def make() -> Order:
        return Order((97, 5, 203, 1, 60), 24, 3, seed=11, block_records=7, window_blocks=4)
    straight = make()
    expected = [straight.batch(position).tolist() for position in range(0, 24 * 60, 24)]
    for position in (24 * 59, 24 * 7, 0, 24 * 31):
        assert make().batch(position).tolist() == expected[position // 24]


def test_known_records() -> None:
    """The data order is part of a run's identity: when this changes, say so in CHANGELOG.md."""
    assert Order((10, 6), 8, 2, 0, 4, 2).batch(0).tolist() == [11, 5, 6, 7, 3, 14, 9, 8]


@pytest.fixture(scope="module")
def hundred() -> Order:
    """100 shards of 500 records, with the recipes' defaults."""
    return Order((500,) * 100, 64, 8, seed=0)


def test_order_does_not_correlate_with_storage(hundred: Order) -> None:
    taken = epoch_of(hundred, 0).ravel()
    assert abs(np.corrcoef(np.arange(len(taken)), taken)[0, 1]) < 0.05
    assert abs(np.corrcoef(taken[:-1], taken[1:])[0, 1]) < 0.05


@pytest.mark.parametrize("lanes", [1, 4, 8])
@pytest.mark.parametrize("per_shard", [64, 100, 300])
def test_order_does_not_correlate_with_storage_in_a_small_set(per_shard: int, lanes: int) -> None:
    """With a few hundred blocks, chance alone would mix one epoch in three badly."""
    order = Order((per_shard,) * 100, 64, lanes, seed=1)
    for epoch in range(10):
        taken = epoch_of(order, epoch).ravel()
        assert abs(np.corrcoef(np.arange(len(taken)), taken)[0, 1]) < 0.05


def test_epochs_do_not_correlate(hundred: Order) -> None:
    ranks = [np.argsort(epoch_of(hundred, epoch).ravel())[: 49_000] for epoch in range(8)]
    assert np.median([abs(np.corrcoef(a, b)[0, 1]) for a, b in itertools.combinations(ranks, 2)]) < 0.05


@pytest.mark.parametrize(("records", "batch"), [(1038, 256), (65, 64), (300, 64)])
def test_any_record_may_be_in_the_remainder(records: int, batch: int) -> None:
    order = Order((records,), batch, 1, seed=0)
    taken = sum(np.bincount(epoch_of(order, epoch).ravel(), minlength=records) for epoch in range(1000))
    assert taken.max() < 1000


def test_every_batch_draws_from_many_shards(hundred: Order) -> None:
    for batch in epoch_of(hundred, 0):
        assert len(np.unique(batch // 500)) >= 16


def test_reading_is_sequential_inside_windows(hundred: Order) -> None:
    """The records of a window, sorted, are nearly all runs of whole blocks: few seeks."""
    records = hundred.window_records(hundred.window(0), 0)
    seeks = 1 + np.count_nonzero(np.diff(records) != 1)
    assert len(records) / seeks > 20  # blocks hold 32, the last of a shard fewer


@orders
def test_window_holds_the_chunks_first_record(order: Order) -> None:
    for position in range(0, order.batch_size * order.batches_per_epoch * 2, order.batch_size):
        for lane in range(order.lanes):
            epoch, _ = order.window(position)
            records = order.window_records(order.window(position), lane)
            assert order.chunk(position, lane)[0] in records
            assert epoch == order.locate(position)[0]
            assert np.all(np.diff(records) > 0)


@orders
def test_windows_cover_an_epoch_once(order: Order) -> None:
    seen: dict[tuple, np.ndarray] = {}
    for position in range(0, order.batch_size * order.batches_per_epoch, order.batch_size):
        for lane in range(order.lanes):
            key = order.window(position)
            records = order.window_records(key, lane)
            assert np.array_equal(seen.setdefault((lane, *key), records), records)
    together = np.sort(np.concatenate(list(seen.values())))
    assert np.array_equal(together, np.sort(epoch_of(order, 0).ravel()))


def test_resuming_deep_into_lsun_takes_no_replay() -> None:
    """3,033,042 records, 20 and a half epochs in."""
    began = time.perf_counter()
    order = Order((10_000,) * 303 + (3_042,), 128, 8, seed=5)
    deep = (3_033_042 * 41 // 2) // 128 * 128
    assert len(order.batch(deep)) == 128
    assert order.locate(deep)[0] == 20
    assert time.perf_counter() - began < 2


@pytest.mark.parametrize("batch, lanes, says", [(64, 6, "lanes=6 does not divide"), (1024, 4, "fewer than one batch")])
def test_impossible_orders(batch: int, lanes: int, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Order((100,), batch, lanes, seed=0)
