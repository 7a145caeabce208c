"""Shard sets by URL, and the bounded cache that processes share."""

import errno
import multiprocessing
import os
import shutil
import threading
import time
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch

from scalegan.data.manifest import Manifest
from scalegan.data.reading import cache, origin
from scalegan.data.reading.cache import Remote
from scalegan.data.reading.order import Order
from scalegan.data.reading.origin import RemoteFolder
from scalegan.data.reading.record_reader import OrderedReader, RecordReader
from scalegan.data.reading.webdataset import WebDatasetReader
from scalegan.errors import UserError

PLENTY = 10**9


def ordered(reader: RecordReader) -> OrderedReader:
    return OrderedReader(reader, Order(reader.sizes, 16, 4, seed=3, block_records=8, window_blocks=4))


def remote(url: str, cache_bytes: int = PLENTY) -> Remote:
    return Remote(url, cache_bytes, pause_seconds=0.01)


def chunks_of(source: Remote) -> WebDatasetReader:
    return WebDatasetReader(source.open(), source)


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SCALEGAN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "shards"


@pytest.fixture
def in_memory(tiny_set: Path, tmp_path: Path) -> str:
    """The tiny set at a memory:// URL of its own."""
    url = f"memory://{tmp_path.name}/set"
    filesystem = fsspec.filesystem("memory")
    for file in tiny_set.iterdir():
        with filesystem.open(f"{url}/{file.name}", "wb") as copy:
            copy.write(file.read_bytes())
    return url


def total(folder: Path) -> int:
    sizes = 0
    for pattern in ("*.tar", "*.part"):
        for path in folder.glob(pattern):
            with_size = cache._stat(path)
            sizes += with_size.st_size if with_size else 0
    return sizes


def stored(chunks: WebDatasetReader, record: int) -> bytes:
    return next(chunks.stored(np.array([record])))


def test_the_same_samples_as_from_the_folder(tiny_set: Path, in_memory: str) -> None:
    near, far = WebDatasetReader(tiny_set), chunks_of(remote(in_memory))
    for position in range(0, 16 * 40, 16):
        for lane in range(4):
            for one, other in zip(ordered(near).chunk(position, lane), ordered(far).chunk(position, lane)):
                assert torch.equal(one, other)
    assert far.manifest.content == near.manifest.content


def test_shards_are_fetched_once_and_only_when_needed(in_memory: str, root: Path) -> None:
    chunks = chunks_of(remote(in_memory))
    assert not list(root.glob("*.tar"))
    stored(chunks, 0)
    assert len(list(root.glob("*.tar"))) == 1
    fsspec.filesystem("memory").rm(f"{in_memory}/{chunks.manifest.shards[0].name}")
    stored(chunks, 1)
    stored(chunks_of(remote(in_memory)), 2)     # a later run finds it too


def test_the_bound_is_kept_and_the_least_recently_used_goes_first(in_memory: str, root: Path, tiny_set: Path) -> None:
    shards = Manifest.load(tiny_set).shards
    bound = sum(shard.bytes for shard in shards[:3]) + 10
    source = remote(in_memory, bound)
    source.open()
    for shard in shards[:3]:
        source.read(shard, 0, 10)
        time.sleep(0.01)
    source.read(shards[0], 0, 10)       # used again: shards[1] is now the oldest
    source.read(shards[3], 0, 10)
    assert total(root) <= bound
    kept = {path.stem for path in root.glob("*.tar")}
    assert kept == {shards[i].sha256 for i in (0, 2, 3)}


def test_a_cache_too_small_for_one_shard_is_refused(in_memory: str) -> None:
    with pytest.raises(UserError, match=r"data\.cache_bytes=100 cannot hold the largest shard"):
        remote(in_memory, 100).open()


def test_a_cache_too_small_for_the_set_gives_a_warning(
        in_memory: str, tiny_set: Path, capfd: pytest.CaptureFixture) -> None:
    remote(in_memory, max(s.bytes for s in Manifest.load(tiny_set).shards)).open()
    assert "will be fetched again and again" in capfd.readouterr().err


@pytest.mark.parametrize(("break_it", "message"), [
    (lambda fs, url: fs.rm(f"{url}/manifest.json"), r"there is no .*manifest\.json"),
    (lambda fs, url: fs.rm(f"{url}/index.safetensors"), r"there is no .*index\.safetensors"),
    (lambda fs, url: fs.rm(f"{url}/000000.tar"), r"there is no .*000000\.tar"),
    (lambda fs, url: fs.pipe(f"{url}/000000.tar", b"short"), r"000000\.tar in 5 attempts: its SHA-256"),
    (lambda fs, url: fs.pipe(f"{url}/manifest.json", b"<html>"), "cannot read"),
], ids=["no manifest", "no index", "no shard", "other bytes", "a web page"])
def test_what_is_missing_or_damaged_is_named(in_memory: str, root: Path, break_it: object, message: str) -> None:
    break_it(fsspec.filesystem("memory"), in_memory)
    with pytest.raises(UserError, match=message):
        stored(chunks_of(remote(in_memory)), 0)
    assert not list(root.glob("*.tar")) and not list(root.glob("*.part"))


def test_what_is_missing_is_told_from_an_outage_by_its_cause() -> None:
    error = FileNotFoundError("it")
    for error.__cause__, missing in ((None, True), (RuntimeError("NoSuchKey, as s3fs has it"), True),
                                     (TimeoutError(), False)):
        assert origin.is_missing(error) is missing


@pytest.mark.parametrize("harm", [lambda data: data[:700], lambda data: b"", lambda data: bytes(len(data))])
def test_a_damaged_copy_is_fetched_again(
        in_memory: str, root: Path, tiny_set: Path, harm: object, capfd: pytest.CaptureFixture) -> None:
    chunks, near = chunks_of(remote(in_memory)), WebDatasetReader(tiny_set)
    stored(chunks, 0)
    copy, = root.glob("*.tar")
    copy.write_bytes(harm(copy.read_bytes()))
    assert chunks._verified(np.arange(9)) == [stored(near, record) for record in range(9)]
    assert capfd.readouterr().err.count("is damaged; fetching") == 1


def test_a_file_longer_than_announced_does_not_fill_the_disk(in_memory: str) -> None:
    fsspec.filesystem("memory").pipe(f"{in_memory}/000000.tar", bytes(10 << 20))
    with pytest.raises(UserError, match="longer than the manifest says"):
        stored(chunks_of(remote(in_memory)), 0)


def test_unknown_protocols_are_named() -> None:
    with pytest.raises(UserError, match="cannot open nonsense://x"):
        remote("nonsense://x").open()


def test_a_shaky_network_is_tried_again(
        in_memory: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture) -> None:
    plain, failures = RemoteFolder._open, iter([OSError("reset"), TimeoutError("slow"), OSError("reset")])

    def shaky(self: RemoteFolder, name: str) -> object:
        if name.endswith(".tar") and (error := next(failures, None)):
            raise error
        return plain(self, name)

    monkeypatch.setattr(RemoteFolder, "_open", shaky)
    stored(chunks_of(remote(in_memory)), 0)
    assert capfd.readouterr().err.count("trying again") == 3


def test_a_part_left_by_a_killed_process_is_replaced(
        in_memory: str, root: Path, tiny_set: Path) -> None:
    shards = Manifest.load(tiny_set).shards
    source = remote(in_memory, max(s.bytes for s in shards))
    source.open()
    for shard in shards[:2]:    # of the shard itself, and of another
        (root / f"{shard.sha256}.part").write_bytes(bytes(shard.bytes))
    assert source.read(shards[0], 0, 512)[257:262] == b"ustar"
    assert total(root) <= source.cache_bytes


def _read_all(url: str, bound: int, seed: int, failures: multiprocessing.Queue) -> None:
    source = Remote(url, bound, 0.01)
    folder = source.open()
    near = WebDatasetReader(Path(url.removeprefix("file://")))
    far = WebDatasetReader(folder, source)
    generator = torch.Generator().manual_seed(seed)
    for record in torch.randint(sum(near.sizes), (150,), generator=generator).tolist():
        if stored(near, record) != stored(far, record):
            failures.put(record)


def test_many_processes_share_a_small_cache(tiny_set: Path, tmp_path: Path, root: Path) -> None:
    """Five processes read at random through a cache that never exceeds two shards."""
    shutil.copytree(tiny_set, tmp_path / "far")
    shards = Manifest.load(tiny_set).shards
    bound = 2 * max(shard.bytes for shard in shards) + 10
    context = multiprocessing.get_context("fork")
    failures = context.Queue()
    readers = [context.Process(target=_read_all, args=(f"file://{tmp_path}/far", bound, seed, failures))
               for seed in range(5)]
    for reader in readers:
        reader.start()
    largest, deadline = 0, time.monotonic() + 120
    while any(reader.is_alive() for reader in readers):
        assert time.monotonic() < deadline, "they wait for one another"
        largest = max(largest, total(root))
        time.sleep(0.002)
    assert [reader.exitcode for reader in readers] == [0] * 5 and failures.empty()
    # A listing is not a snapshot: a shard may be counted under its name and, renamed meanwhile, once more.
    assert 0 < largest <= bound + max(shard.bytes for shard in shards)


def test_http(tiny_set: Path) -> None:
    """A plain web server without range support; read before and after a fork, as loader workers do."""
    pytest.importorskip("aiohttp", reason="http:// needs aiohttp")
    from functools import partial
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    class Quiet(SimpleHTTPRequestHandler):
        out_of_order = 0

        def log_message(self, *arguments: object) -> None:
            """Logs nothing."""

        def send_head(self) -> object:
            if Quiet.out_of_order:
                Quiet.out_of_order -= 1
                return self.send_error(503)
            return super().send_head()

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tiny_set)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        far, near = chunks_of(remote(url)), WebDatasetReader(tiny_set)
        assert stored(far, 0) == stored(near, 0)
        child = os.fork()
        if child == 0:
            os._exit(0 if stored(far, 300) == stored(near, 300) else 1)
        deadline = time.monotonic() + 60
        while (waited := os.waitpid(child, os.WNOHANG))[0] == 0:
            if time.monotonic() > deadline:
                os.kill(child, 9)
            time.sleep(0.05)
        assert waited[1] == 0
        with pytest.raises(UserError, match="there is no"):
            remote(f"{url}/elsewhere").open()
        Quiet.out_of_order = 4
        assert stored(chunks_of(remote(url)), 1) == stored(near, 1) and Quiet.out_of_order == 0
        server.shutdown()
        server.server_close()
        with pytest.raises(UserError, match="in 5 attempts"):
            remote(url).open()
    finally:
        server.shutdown()


def test_a_cache_that_cannot_be_written_is_named(in_memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    chunks = chunks_of(remote(in_memory))
    monkeypatch.setattr(os, "utime", refused)
    with pytest.raises(UserError, match=r"cannot cache memory://.*000000\.tar in .*denied; set SCALEGAN_CACHE"):
        stored(chunks, 0)
