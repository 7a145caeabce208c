"""What can go wrong while a run reads data: each case is survived or ends in one clear line, and nothing hangs.

test_shards.py covers damage that is already there when a set is opened.
"""

import dataclasses
import errno
import json
import operator
import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import reduce
from pathlib import Path

import numpy as np
import pytest
import torch

from scalegan.data.codec import encode
from scalegan.data.manifest import ImageFormat, Index, LabelSchema, Manifest
from scalegan.data.preparing.shards import Record, finish, write_shard
from scalegan.data.reading.order import Order
from scalegan.data.reading.record_reader import OrderedReader
from scalegan.data.reading.stream import StoredBatch, Stream
from scalegan.data.reading.waiting import DataWait, Stopped
from scalegan.data.reading.webdataset import WebDatasetReader
from scalegan.errors import UserError
from scalegan.support import signals

BATCH, LANES, EPOCH = 16, 4, 19
PATIENCE_SECONDS = 60
workers_0_and_2 = pytest.mark.parametrize("workers", [0, 2])


@pytest.fixture(autouse=True)
def nothing_hangs() -> Iterator[None]:
    def give_up(*_: object) -> None:
        pytest.fail(f"still waiting after {PATIENCE_SECONDS} s")
    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(PATIENCE_SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def own_set(tiny_set: Path, tmp_path: Path) -> Path:
    """A copy to damage: 304 records in shards of 64, the last of 48."""
    return Path(shutil.copytree(tiny_set, tmp_path / "set"))


def open_set(folder: Path) -> OrderedReader:
    reader = WebDatasetReader(folder)
    return OrderedReader(reader, Order(reader.sizes, BATCH, LANES, 0, 8, 2))


def open_stream(chunks: OrderedReader, workers: int, batch: int = 0, lanes: range = range(LANES)) -> Stream:
    return Stream(chunks, lanes, batch * BATCH, workers)


def take(stream: Stream, count: int) -> list[StoredBatch]:
    return [stream.take() for _ in range(count)]


@pytest.fixture(scope="module")
def straight(tiny_set: Path) -> list[StoredBatch]:
    return take(open_stream(open_set(tiny_set), 0), 2 * EPOCH)


def assert_equal(found: list[StoredBatch], expected: list[StoredBatch]) -> None:
    assert [reals.position for reals in found] == [reals.position for reals in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.samples.equal(other.samples)
        assert one.labels.equal(other.labels)


def batch_of(chunks: OrderedReader, record: int) -> int:
    return next(batch for batch in range(EPOCH) if record in chunks.order.batch(batch * BATCH))


def flip(place: float) -> Callable[[Path, Index, int], None]:
    def damage(folder: Path, index: Index, record: int) -> None:
        with (folder / f"{record // 64:06d}.tar").open("r+b") as file:
            file.seek(int(index.offsets[record] + place * (index.sizes[record] - 1)))
            byte = file.read(1)[0]
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte ^ 1]))
    return damage


def truncate(folder: Path, index: Index, record: int) -> None:
    """Cuts the shard in the middle of the record; all that follow it are gone."""
    os.truncate(folder / f"{record // 64:06d}.tar", int(index.offsets[record]) + 20)


def blank(folder: Path, index: Index, record: int) -> None:
    """Zeros, as left by a disk that lost power."""
    with (folder / f"{record // 64:06d}.tar").open("r+b") as file:
        file.seek(int(index.offsets[record]))
        file.write(bytes(int(index.sizes[record])))


DAMAGES = {"first byte flipped": flip(0), "byte flipped in the middle": flip(0.5), "last byte flipped": flip(1),
           "truncated": truncate, "zeros": blank}


@workers_0_and_2
@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_record_is_named_when_its_batch_is_due(how: str, workers: int, own_set: Path,
                                                        straight: list[StoredBatch]) -> None:
    """The batches before it, and those of a stream that begins after it, are unaffected."""
    chunks = open_set(own_set)
    record = 127        # the last of its shard, so that truncating spares all others
    at = batch_of(chunks, record)
    DAMAGES[how](own_set, chunks.reader.index, record)
    stream = open_stream(chunks, workers)
    assert_equal(take(stream, at), straight[:at])
    for _ in range(2):
        with pytest.raises(UserError, match=r"record 127 in .*000001\.tar is damaged .*; restore that shard, or"):
            stream.take()
    rest = take(open_stream(chunks, workers, at + 1), EPOCH - at - 1)
    assert_equal(rest, straight[at + 1 : EPOCH])


@workers_0_and_2
def test_damage_outside_a_ranks_lanes_does_not_affect_it(workers: int, own_set: Path,
                                                              straight: list[StoredBatch]) -> None:
    chunks = open_set(own_set)
    record = int(chunks.order.chunk(0, 0)[0])
    DAMAGES["zeros"](own_set, chunks.reader.index, record)
    reals = open_stream(chunks, workers, 0, range(2, 4)).take()
    assert reals.samples.equal(straight[0].samples[8:])


@workers_0_and_2
def test_an_empty_record(workers: int, tmp_path: Path) -> None:
    """Its checksums match, but it is not an image."""
    image = ImageFormat(16, 3, "jpeg", 90)
    records = [Record(encode(np.full((16, 16, 3), i, np.uint8), image), None) for i in range(32)]
    records[5] = Record(b"", None)
    shard, index = write_shard(tmp_path / "000000.tar", records, 0, "jpeg")
    finish(tmp_path, [shard], [index], image, LabelSchema(), "made up")
    with pytest.raises(UserError, match=r"record 5 in .* is damaged"):
        take(open_stream(open_set(tmp_path), workers), 2)


@workers_0_and_2
def test_a_shard_that_goes_missing(workers: int, own_set: Path, straight: list[StoredBatch]) -> None:
    chunks = open_set(own_set)
    (own_set / "000003.tar").unlink()
    with pytest.raises(UserError, match=r"cannot open .*000003\.tar: No such file.*restore the shard"):
        take(open_stream(chunks, workers), EPOCH)
    shutil.copy(Path(straight_set(own_set)) / "000003.tar", own_set)
    assert_equal(take(open_stream(open_set(own_set), workers), EPOCH), straight[:EPOCH])


def straight_set(own_set: Path) -> Path:
    """An intact set with the same bytes."""
    from harness import make_set

    return make_set(own_set.parent / "again")


@workers_0_and_2
def test_a_disk_that_reports_errors(workers: int, own_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    monkeypatch.setattr(os, "pread", broken)
    with pytest.raises(UserError, match=r"cannot read .*\.tar: Input/output error"):
        open_stream(open_set(own_set), workers).take()


def of_another_set(folder: Path) -> None:
    """A manifest of the same number of records in shards of other lengths."""
    manifest = Manifest.load(folder)
    shards = [*manifest.shards]
    shards[0], shards[4] = (shards[0].__class__(**{**vars(shards[i]), "records": n}) for i, n in ((0, 60), (4, 52)))
    manifest.__class__(manifest.image, manifest.labels, tuple(shards), "", manifest.content).save(folder)


def of_another_size(folder: Path) -> None:
    manifest = Manifest.load(folder)
    image = ImageFormat(32, 3, "jpeg", 90)
    manifest.__class__(image, manifest.labels, manifest.shards, "", manifest.content).save(folder)


def of_grey_images(folder: Path) -> None:
    manifest = Manifest.load(folder)
    manifest.__class__(ImageFormat(16, 3, "raw"), manifest.labels, manifest.shards, "", manifest.content).save(folder)


@workers_0_and_2
@pytest.mark.parametrize("change", [of_another_set, of_another_size, of_grey_images])
def test_a_manifest_that_does_not_match_the_shards(change: Callable, workers: int, own_set: Path) -> None:
    change(own_set)
    with pytest.raises(UserError, match=r"record \d+ in .* is damaged|does not match"):
        take(open_stream(open_set(own_set), workers), EPOCH)


@pytest.mark.parametrize(("field", "value", "said"), [
    (("image", "size"), "large", "image.size"), (("image", "size"), -16, "image.size"),
    (("image", "channels"), 17, "image.channels"), (("image", "encoding"), "gif", "image.encoding"),
    (("labels", "kind"), "foo", "labels.kind"), (("labels", "names"), [1, 2, 3, 4], "labels.names.0"),
    (("shards", 0, "records"), None, "shards.0.records"), (("shards", 1, "bytes"), "x", "shards.1.bytes"),
    (("shards", 1, "name"), "../000001.tar", "shards.1.name"), (("shards", 1, "sha256"), "/etc", "shards.1.sha256"),
    (("content",), None, "content"), (("version",), "1", "version '1'")])
def test_an_invalid_manifest_field(field: tuple, value: object, said: str, own_set: Path) -> None:
    tree = json.loads((own_set / "manifest.json").read_text())
    reduce(operator.getitem, field[:-1], tree)[field[-1]] = value
    (own_set / "manifest.json").write_text(json.dumps(tree))
    with pytest.raises(UserError, match=re.escape(said)):
        open_set(own_set)


@pytest.mark.parametrize("text", [b"\xff\xfe" * 50_000, b"[" * 100_000, b"[]"], ids=["binary", "deep", "a list"])
def test_an_unreadable_manifest_is_reported_briefly(text: bytes, own_set: Path) -> None:
    (own_set / "manifest.json").write_bytes(text)
    with pytest.raises(UserError, match=r"cannot read .*manifest\.json") as caught:
        open_set(own_set)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("column", ["offsets", "sizes", "digests", "labels", "checks"])
@pytest.mark.parametrize("change", [lambda a: a[:-1], lambda a: a.astype(np.float64), lambda a: a[:, None, None]],
                         ids=["short", "float", "deep"])
def test_an_invalid_index_column(column: str, change: Callable, own_set: Path) -> None:
    path = own_set / "index.safetensors"
    index = Index.load(path)
    dataclasses.replace(index, **{column: change(getattr(index, column))}).save(path)
    with pytest.raises(UserError, match=r"index\.safetensors"):
        open_set(own_set)


@pytest.mark.parametrize("killed", [1, 2])
def test_killed_workers_are_reported(killed: int, tiny_set: Path, straight: list[StoredBatch]) -> None:
    """In one line, on every call."""
    stream = open_stream(open_set(tiny_set), 2)
    assert_equal(take(stream, 2), straight[:2])
    for worker in stream._workers.processes[:killed]:
        os.kill(worker.pid, signal.SIGKILL)
    for _ in range(2):
        with pytest.raises(UserError, match=r"a loader worker died \(exit code -9\)"):
            take(stream, 2000)
    stream.close()
    assert_equal(take(open_stream(open_set(tiny_set), 2, 2), 3), straight[2:5])


@workers_0_and_2
def test_a_slow_disk_is_waited_for(workers: int, tiny_set: Path, straight: list[StoredBatch],
                                   monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """With a warning if nothing arrives for long."""
    read = os.pread

    def slow(*arguments: int) -> bytes:
        time.sleep(0.02)
        return read(*arguments)
    monkeypatch.setattr(os, "pread", slow)
    monkeypatch.setattr(DataWait, "poll_seconds", 1)
    monkeypatch.setattr(DataWait, "warn_every", 1)
    assert_equal(take(open_stream(open_set(tiny_set), workers), 5), straight[:5])
    if workers:
        assert "is the disk slow?" in capfd.readouterr().err


@pytest.mark.parametrize("asked", [signal.SIGTERM, signal.SIGUSR2])
def test_waiting_for_a_disk_that_hangs_can_be_stopped(
        asked: signal.Signals, tiny_set: Path, straight: list[StoredBatch], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DataWait, "poll_seconds", 0.2)
    monkeypatch.setattr(DataWait, "give_up_after", 0.5)
    stream = open_stream(open_set(tiny_set), 1)
    worker, = stream._workers.processes
    os.kill(worker.pid, signal.SIGSTOP)
    monkeypatch.setattr(signals, "asked", int(asked))
    if asked == signal.SIGUSR2:     # there are minutes left
        threading.Timer(1.5, os.kill, (worker.pid, signal.SIGCONT)).start()
        assert_equal(take(stream, 200)[:21], straight[:21])
        return
    with pytest.raises(Stopped, match=r"received SIGTERM, but no data for"):
        take(stream, 1000)
    os.kill(worker.pid, signal.SIGCONT)
    stream.close()


def test_sets_without_fast_checksums_are_checked_by_their_digests(own_set: Path, straight: list[StoredBatch]) -> None:
    path = own_set / "index.safetensors"
    index = Index.load(path)
    Index(index.offsets, index.sizes, index.digests, index.labels).save(path)
    assert_equal(take(open_stream(open_set(own_set), 0), EPOCH), straight[:EPOCH])
    DAMAGES["last byte flipped"](own_set, index, 127)
    with pytest.raises(UserError, match=r"record 127 in .* is damaged"):
        take(open_stream(open_set(own_set), 0), EPOCH)


def test_each_batch_of_a_task_has_its_own_labels(tiny_set: Path, straight: list[StoredBatch]) -> None:
    reals = take(open_stream(open_set(tiny_set), 1), 6)
    assert torch.cat([r.labels for r in reals]).equal(torch.cat([r.labels for r in straight[:6]]))
