"""The stream: the same batches from any number of workers and any position, and failures that are reported."""

import os
import shutil
import signal
import time
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
import torch
from harness import alive, descendants, wait_until

from scalegan.data.codec import encode
from scalegan.data.manifest import ImageFormat, Index, LabelSchema, Shard, digest_of
from scalegan.data.preparing.shards import finish
from scalegan.data.reading import order
from scalegan.data.reading.order import Endless, Order
from scalegan.data.reading.points import SETS, PointReader
from scalegan.data.reading.record_reader import OrderedReader
from scalegan.data.reading.stream import StoredBatch, Stream, _batches_per_task
from scalegan.data.reading.webdataset import WebDatasetReader
from scalegan.errors import UserError
from scalegan.games.base import Batch
from scalegan.randomness import Draws
from scalegan.training.batch_loader import BatchLoader, StreamSettings


def open_set(folder: Path) -> OrderedReader:
    return of_lanes(folder, 4)


def take(folder: Path, batches: int, workers: int = 0, position: int = 0, lanes: range = range(4)) -> list[StoredBatch]:
    stream = Stream(open_set(folder), lanes, position, workers)
    return [stream.take() for _ in range(batches)]


def assert_equal(found: list[StoredBatch], expected: list[StoredBatch]) -> None:
    assert [r.position for r in found] == [r.position for r in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.samples.equal(other.samples)
        assert one.labels.equal(other.labels)


@pytest.fixture(scope="module")
def straight(tiny_set: Path) -> list[StoredBatch]:
    """More than two epochs (19 batches each)."""
    return take(tiny_set, 45)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_workers_change_no_sample(workers: int, tiny_set: Path, straight: list[StoredBatch]) -> None:
    assert_equal(take(tiny_set, 45, workers), straight)


@pytest.mark.parametrize("batch, workers", [(1, 0), (18, 2), (19, 0), (30, 3)])
def test_from_a_position_on_as_straight(batch: int, workers: int, tiny_set: Path, straight: list[StoredBatch]) -> None:
    assert_equal(take(tiny_set, 10, workers, batch * 16), straight[batch : batch + 10])


def test_a_rank_takes_its_lanes(tiny_set: Path, straight: list[StoredBatch]) -> None:
    first, second = take(tiny_set, 20, 1, lanes=range(0, 2)), take(tiny_set, 20, 2, lanes=range(2, 4))
    for one, other, whole in zip(first, second, straight):
        assert torch.cat([one.samples, other.samples]).equal(whole.samples)
        assert torch.cat([one.labels, other.labels]).equal(whole.labels)


def of_lanes(folder: Path, lanes: int) -> OrderedReader:
    reader = WebDatasetReader(folder)
    return OrderedReader(reader, Order(reader.sizes, 16, lanes, 0, 8, 2))


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
@pytest.mark.parametrize("lanes, world", [(1, 1), (2, 1), (4, 1), (4, 2), (8, 4), (16, 1), (16, 2), (16, 4), (16, 16)])
def test_task_size_changes_no_batch(lanes: int, world: int, workers: int, tiny_set: Path) -> None:
    """Tasks hold one to many batches, depending on a rank's share; compared with lane-by-lane reads."""
    chunks = of_lanes(tiny_set, lanes)
    for rank in sorted({0, world // 2, world - 1}):
        own = range(rank * lanes // world, (rank + 1) * lanes // world)
        stream = Stream(chunks, own, 16 * 5, workers)
        for position in range(16 * 5, 16 * 25, 16):
            samples, labels = zip(*(chunks.chunk(position, lane) for lane in own))
            reals = stream.take()
            assert reals.position == position
            assert reals.samples.equal(torch.cat(samples)) and reals.labels.equal(torch.cat(labels))


@pytest.mark.parametrize("share, sample_bytes, batches", [
    (64, 12288, 1), (16, 12288, 4), (1, 12288, 64), (48, 12288, 1), (8, 3 * 256**2, 2), (4, 3 * 1024**2, 1),
    (4096, 8, 1)])
def test_tasks_are_neither_tiny_nor_huge(share: int, sample_bytes: int, batches: int) -> None:
    assert _batches_per_task(share, sample_bytes) == batches


@pytest.mark.parametrize("workers", [0, 2])
def test_memory_is_reused_but_never_while_it_is_held(workers: int, tiny_set: Path, straight: list[StoredBatch]) -> None:
    stream = Stream(open_set(tiny_set), range(4), 0, workers)
    places = set()
    for expected in straight[:30]:
        reals = stream.take()
        places.add(reals.samples.untyped_storage().data_ptr())
        assert reals.samples.equal(expected.samples)
    assert len(places) <= len(stream._slots.memory)
    held = [stream.take() for _ in range(15)]
    assert_equal(held, straight[30:45])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_part_of_a_batch_holds_its_memory(workers: int, tiny_set: Path, straight: list[StoredBatch]) -> None:
    stream = Stream(open_set(tiny_set), range(4), 0, workers)
    part = stream.take().samples[3:5].flip(0)[:1, 0]
    view = stream.take().samples[7]
    for _ in range(40):
        stream.take()
    assert part.equal(straight[0].samples[4:5, 0])
    assert view.equal(straight[1].samples[7])


def test_batches_outlive_their_stream(tiny_set: Path, straight: list[StoredBatch]) -> None:
    assert_equal([Stream(open_set(tiny_set), range(4), 0, 2).take()], straight[:1])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("workers", [0, 2])
def test_pinned_batches_are_the_same(workers: int, tiny_set: Path, straight: list[StoredBatch]) -> None:
    stream = Stream(open_set(tiny_set), range(4), 0, workers, pin=True)
    found = [stream.take() for _ in range(45)]
    assert all(reals.samples.is_pinned() for reals in found)
    assert_equal(found, straight)


def test_batches_are_not_all_alike(straight: list[StoredBatch]) -> None:
    assert len({r.samples.numpy().tobytes() for r in straight}) == len(straight)


def workers_of_this_process(before: set[int]) -> set[int]:
    return {pid for pid in descendants(os.getpid()) - before if alive(pid)}


def test_workers_survive_stop_signals(tiny_set: Path, straight: list[StoredBatch]) -> None:
    """A signal to the whole process group must not end them while the trainer saves."""
    before = descendants(os.getpid())
    stream = Stream(open_set(tiny_set), range(4), 0, 2)
    found = [stream.take()]
    for pid in workers_of_this_process(before):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
            os.kill(pid, number)
    assert_equal(found + [stream.take() for _ in range(20)], straight[:21])


def test_workers_end_with_the_stream(tiny_set: Path) -> None:
    before = descendants(os.getpid())
    stream = Stream(open_set(tiny_set), range(4), 0, 2)
    stream.take()
    assert workers_of_this_process(before)
    del stream
    wait_until(lambda: not workers_of_this_process(before), "the workers are gone", 60)


@pytest.mark.parametrize("workers", [0, 2])
def test_damaged_record_is_reported_through_workers(workers: int, tiny_set: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_set, tmp_path / "set"))
    index, path = Index.load(folder / "index.safetensors"), folder / "000000.tar"
    content = bytearray(path.read_bytes())
    content[int(index.offsets[7]) + 40] ^= 255
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"record 7 in .*000000\.tar is damaged"):
        take(folder, 40, workers)


def simulated_lsun(folder: Path, positions: range) -> Order:
    """LSUN bedroom's 3,033,042 records in sparse shards that hold only the records of batches at `positions`."""
    image = ImageFormat(64, 3, "jpeg", 90)
    data = encode(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8), image)
    step = 512 + -(-len(data) // 512) * 512
    sizes = [2560] * (3_033_042 // 2560) + [3_033_042 % 2560]
    shards = [Shard(f"{i:06d}.tar", size, step * size + 1024, "") for i, size in enumerate(sizes)]
    for shard in shards:
        with (folder / shard.name).open("wb") as file:
            file.truncate(shard.bytes)
    offsets = np.concatenate([512 + step * np.arange(size) for size in sizes])
    count = len(offsets)
    index = Index(offsets, np.full(count, len(data)), np.full(count, digest_of(data)), np.zeros(0, np.int64),
                  np.full(count, crc32(data), np.uint32))
    finish(folder, shards, [index], image, LabelSchema(), "simulated")
    lsun = Order(tuple(sizes), 128, 16, 0)
    for record in np.concatenate([lsun.batch(position) for position in positions]).tolist():
        with (folder / shards[record // 2560].name).open("r+b") as file:
            file.seek(int(offsets[record]))
            file.write(data)
    return lsun


@pytest.mark.slow
def test_resuming_far_into_lsun_takes_less_than_two_seconds(tmp_path: Path) -> None:
    position = 2_900_000 // 128 * 128
    sizes = simulated_lsun(tmp_path, range(position, position + 128 * 20, 128)).shard_sizes

    def first_batch(number: int) -> float:
        start = time.perf_counter()
        chunks = OrderedReader(WebDatasetReader(tmp_path), Order(sizes, 128, 16, 0))
        stream = Stream(chunks, range(16), position, 2)
        assert stream.take().samples.shape == (128, 3, 64, 64)
        seconds = time.perf_counter() - start
        stream.close()
        for remembered in (order._blocks, order._permutation, order._span):
            remembered.cache_clear()
        return seconds
    assert min(map(first_batch, range(3))) < 2


@pytest.mark.parametrize("name", SETS)
def test_points_are_the_same_on_any_lanes(name: str) -> None:
    def points(lanes: int) -> torch.Tensor:
        chunks = OrderedReader(PointReader(name, seed=3), Endless(64, lanes))
        return torch.cat([Stream(chunks, range(lanes), 64 * 5, 0).take().samples for _ in range(1)])
    assert points(1).shape == (64, 2)
    assert points(1).equal(points(4))
    assert 0.1 < points(1).std() < 4


def fed(loader: BatchLoader, reals: StoredBatch, phase: str, updates: int) -> Batch:
    return loader.batch(loader.prepare({"real": reals}), reals.position, phase, updates)


def make_loader(offset: int, labels: torch.Tensor | None = None, batch: int = 16, flip: bool = True) -> BatchLoader:
    return BatchLoader(0, 0, batch, offset, torch.device("cpu"), {"real": StreamSettings(flip, labels)})


def test_a_rank_gets_its_part_of_the_whole_batch(straight: list[StoredBatch]) -> None:
    """Flips, labels of fakes and latents do not depend on ranks."""
    table = torch.arange(4).repeat(76)
    reals = straight[3]
    whole = fed(make_loader(0, table), reals, "D", 5)
    for offset in (0, 4, 8):
        part = StoredBatch(reals.position, reals.samples[offset : offset + 4], reals.labels[offset : offset + 4])
        batch = fed(make_loader(offset, table), part, "D", 5)
        expected = whole[offset : offset + 4]
        assert batch.reals.equal(expected.reals)
        assert batch.labels.equal(expected.labels)
        assert batch.condition().equal(expected.condition())
        assert batch.draws.normal("z", 8).equal(expected.draws.normal("z", 8))


def test_phases_and_updates_have_different_draws(straight: list[StoredBatch]) -> None:
    loader = make_loader(0)
    drawn = {fed(loader, straight[0], phase, updates).draws.normal("z", 1).sum().item()
             for phase in ("D", "G") for updates in (0, 1)}
    assert len(drawn) == 4


def test_flips_mirror_about_half_and_nothing_else(straight: list[StoredBatch]) -> None:
    flipped = 0
    for reals in straight:
        plain = reals.samples.float() / 127.5 - 1
        for sample, image in zip(fed(make_loader(0), reals, "D", 0).reals, plain):
            mirrored = torch.allclose(sample, image.flip(2), atol=1e-6)
            assert mirrored or torch.allclose(sample, image, atol=1e-6)
            flipped += mirrored
    assert 0.42 < flipped / (45 * 16) < 0.58  # 4 sigma


def test_phases_that_share_a_batch_see_the_same_flips(straight: list[StoredBatch]) -> None:
    loader = make_loader(0)
    assert fed(loader, straight[0], "D", 0).reals.equal(fed(loader, straight[0], "D.r1", 7).reals)


def test_labels_of_fakes_follow_the_datas_own() -> None:
    table = torch.tensor([0] * 90 + [1] * 10)
    reals = StoredBatch(0, torch.zeros(4000, 3, 2, 2, dtype=torch.uint8), torch.zeros(4000, dtype=torch.long))
    loader = make_loader(0, table, 4000, False)
    assert fed(loader, reals, "D", 0).condition().float().mean() == pytest.approx(0.1, abs=0.02)


def test_draws_follow_the_device() -> None:
    draws = Draws(0, 0, "x", torch.arange(3))
    assert draws.to(torch.device("cpu")).normal("z", 2).equal(draws.normal("z", 2))
