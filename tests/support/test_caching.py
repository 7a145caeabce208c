"""The cache: the user's own folders, closed to others; where there are none, the work goes on without."""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from isal.isal_zlib import crc32

from scalegan.config import Data
from scalegan.data.manifest import Manifest
from scalegan.data.preparing import embedded
from scalegan.data.reading import cache as shards
from scalegan.data.reading.cache import Remote
from scalegan.data.reading.webdataset import WebDatasetReader
from scalegan.engines.ranks import Ranks
from scalegan.errors import UserError
from scalegan.metrics import cache as features
from scalegan.metrics.features import SetFeatures
from scalegan.metrics.gaussian import Moments
from scalegan.support import caching

ALONE = Ranks(0, 1, torch.device("cpu"))


class EXTRACTOR:
    name, sha256, resize = "stub", "0" * 64, "own"


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SCALEGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(caching, "_told", set())
    return tmp_path / "cache"


def no_home(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> Path:
        raise RuntimeError("Could not determine home directory.")
    monkeypatch.delenv("SCALEGAN_CACHE")
    monkeypatch.setattr(Path, "home", refuse)


def a_file(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root.write_bytes(b"")


def below_a_file(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCALEGAN_CACHE", "/dev/null/cache")


def linked_folder(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root.mkdir()
    (root.parent / "elsewhere").mkdir()
    for name in ("shards", "features", "mnist-16"):
        (root / name).symlink_to(root.parent / "elsewhere")


def open_to_all(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("shards", "features", "mnist-16"):
        (root / name).mkdir(parents=True)
        (root / name).chmod(0o777)


UNUSABLE = pytest.mark.parametrize("make_unusable", [no_home, a_file, below_a_file, linked_folder, open_to_all],
                                   ids=lambda case: case.__name__)


def read_some(url: str) -> tuple[list[bytes], Remote]:
    remote = Remote(url, 10**9, pause_seconds=0.01)
    return WebDatasetReader(remote.open(), remote)._verified(np.arange(0, 304, 50)), remote


def expected(folder: Path) -> list[bytes]:
    return list(WebDatasetReader(folder).stored(np.arange(0, 304, 50)))


@UNUSABLE
def test_shards_by_url_go_on_without(make_unusable: Callable, root: Path, tiny_set: Path,
                                     monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture) -> None:
    make_unusable(root, monkeypatch)
    found, remote = read_some(f"file://{tiny_set}")
    assert found == expected(tiny_set)
    said = capfd.readouterr().err
    assert said.count("\n") == 1 and "going on without a cache; set SCALEGAN_CACHE" in said
    assert not list(root.parent.glob("elsewhere/*"))
    caching.remove_stand_ins()
    assert not remote.root.exists()


def make_and_look() -> Path:
    embedded._temporary.cache_clear()
    embedded.make_embedded(Data(path="embedded:mnist", resolution=16), ALONE)
    folder = embedded.folder_of("embedded:mnist", 16)
    assert Manifest.load(folder).records == 20 and folder == embedded.folder_of("embedded:mnist", 16)
    return folder


@pytest.fixture
def few_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    digits = np.stack([np.full((28, 28), number, np.uint8) for number in range(20)]), np.arange(20) % 10
    monkeypatch.setitem(embedded._SOURCES, "mnist", (lambda: digits, *embedded._SOURCES["mnist"][1:]))


@UNUSABLE
def test_embedded_sets_go_on_without(make_unusable: Callable, root: Path, few_digits: None,
                                     monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture) -> None:
    make_unusable(root, monkeypatch)
    folder = make_and_look()
    assert root not in folder.parents and capfd.readouterr().err.count("set SCALEGAN_CACHE") == 1
    assert not list(root.parent.glob("elsewhere/*"))
    caching.remove_stand_ins()


def cached_features() -> SetFeatures | None:
    """What the cache has of an evaluation's features right after they were written."""
    path = features.path_of("content", EXTRACTOR, 7)
    features.write(path, SetFeatures(Moments.of(torch.ones(4, 3))))
    return features.read(path, False)


@UNUSABLE
def test_features_go_on_without(make_unusable: Callable, root: Path, monkeypatch: pytest.MonkeyPatch,
                                capfd: pytest.CaptureFixture) -> None:
    make_unusable(root, monkeypatch)
    assert cached_features() is None and cached_features() is None
    assert capfd.readouterr().err.count("features of real images cannot be kept") == 1
    assert not list(root.parent.glob("elsewhere/*"))


def test_a_full_disk_is_no_end(root: Path, tiny_set: Path, few_digits: None, monkeypatch: pytest.MonkeyPatch,
                               capfd: pytest.CaptureFixture) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    plain = shards.open_own
    monkeypatch.setattr(shards, "open_own", lambda path, flags, mode: full() if path.suffix == ".part" and root in
                        path.parents else plain(path, flags, mode))
    assert read_some(f"file://{tiny_set}")[0] == expected(tiny_set)
    monkeypatch.setattr(features, "save_file", full)
    assert cached_features() is None
    monkeypatch.setattr(embedded, "cache_folder", full)
    make_and_look()
    assert capfd.readouterr().err.count("(No space left on device); going on without a cache") == 3
    monkeypatch.setattr(shards, "stand_in", full)
    with pytest.raises(UserError, match=r"cannot cache .*: No space left on device; set SCALEGAN_CACHE"):
        read_some(f"file://{tiny_set}")
    caching.remove_stand_ins()


@pytest.mark.parametrize("before", [None, 0o755, 0o700])
def test_folders_are_closed_to_others(before: int | None, root: Path, tiny_set: Path, few_digits: None,
                                      capfd: pytest.CaptureFixture) -> None:
    own = [root / name for name in ("shards", "shards/sets", "features", "mnist-16")]
    umask = os.umask(0o002)
    try:
        for folder in own if before else ():
            folder.mkdir(parents=True)
            folder.chmod(before)
        read_some(f"file://{tiny_set}")
        assert cached_features().moments.count == 4 and make_and_look() == root / "mnist-16"
    finally:
        os.umask(umask)
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in own] == [0o700] * 4
    assert capfd.readouterr().err == ""


def forged(shard: Path, tiny_set: Path) -> bytes:
    """Another shard of the same size, whose first record has the CRC-32 that the index holds."""
    content, index = bytearray(shard.read_bytes()), WebDatasetReader(tiny_set).index
    begin, size = int(index.offsets[0]), int(index.sizes[0])
    content[begin : begin + 8] = b"planted!"
    for end in range(begin + 8, begin + 12):    # CRC-32 is linear: four free bytes give any value
        content[end] = 0
    wanted = int(index.checks[0])
    base = crc32(bytes(content[begin : begin + size]))
    columns = []
    for bit in range(32):
        probe = bytearray(content[begin : begin + size])
        probe[8 + bit // 8] ^= 1 << bit % 8
        columns.append(crc32(bytes(probe)) ^ base)
    for bit in _solution(columns, wanted ^ base):
        content[begin + 8 + bit // 8] ^= 1 << bit % 8
    assert crc32(bytes(content[begin : begin + size])) == wanted
    return bytes(content)


def _solution(columns: list[int], target: int) -> list[int]:
    """Which columns sum to the target modulo 2."""
    basis: dict[int, tuple[int, int]] = {}
    for number, value in enumerate(columns):
        chosen = 1 << number
        while value and (top := value.bit_length()) in basis:
            value, chosen = value ^ basis[top][0], chosen ^ basis[top][1]
        if value:
            basis[value.bit_length()] = value, chosen
    chosen = 0
    while target:
        value, which = basis[target.bit_length()]
        target, chosen = target ^ value, chosen ^ which
    return [bit for bit in range(len(columns)) if chosen >> bit & 1]


def test_a_forged_shard_is_not_believed(root: Path, tiny_set: Path, capfd: pytest.CaptureFixture) -> None:
    shard = Manifest.load(tiny_set).shards[0]
    caching.cache_folder("shards")
    (root / "shards" / f"{shard.sha256}.tar").write_bytes(forged(tiny_set / shard.name, tiny_set))
    assert read_some(f"file://{tiny_set}")[0] == expected(tiny_set)
    assert capfd.readouterr().err.count("is damaged; fetching") == 1
    assert read_some(f"file://{tiny_set}")[0] == expected(tiny_set) and not capfd.readouterr().err


def test_a_shard_is_compared_once(root: Path, tiny_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compared, plain = [], shards.hashlib.file_digest
    monkeypatch.setattr(shards.hashlib, "file_digest", lambda *given: compared.append(1) or plain(*given))
    read_some(f"file://{tiny_set}")
    assert not compared         # it was while it was fetched
    for note in (root / "shards").glob("*.checked"):
        note.unlink()           # as if put there by other means
    for _ in range(3):
        read_some(f"file://{tiny_set}")
    assert len(compared) == 5
    shard = Manifest.load(tiny_set).shards[0]
    path = root / "shards" / f"{shard.sha256}.tar"
    content, times = bytearray(path.read_bytes()), path.stat()
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert read_some(f"file://{tiny_set}")[0] == expected(tiny_set) and len(compared) == 6


def link(path: Path, victim: Path) -> None:
    path.symlink_to(victim)


def pipe(path: Path, victim: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("plant", [link, pipe])
def test_what_is_planted_under_any_name_is_not_followed(plant: Callable, root: Path, tiny_set: Path,
                                                        tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    url, folder = f"file://{tiny_set}", caching.cache_folder("shards")
    kept = caching.cache_folder("shards", "sets") / Remote(url, 1).set_name
    kept.mkdir()
    names = [f"{shard.sha256}{end}" for shard in Manifest.load(tiny_set).shards
             for end in (".tar", ".part", ".lock", ".checked")]
    for path in (*(folder / name for name in names), folder / "room.lock", kept / "manifest.json",
                 kept / "index.safetensors", kept / "manifest.json.tmp"):
        plant(path, victim)
    assert read_some(url)[0] == expected(tiny_set)
    path = features.path_of("content", EXTRACTOR, 7)
    plant(path, victim)
    assert features.read(path, False) is None
    assert cached_features().moments.count == 4
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("content", [{}, {"moments": torch.ones(3)}, {"moments": torch.ones(3), "dim": torch.ones(2)},
                                     {"moments": torch.ones(3), "dim": torch.tensor(10**9)},
                                     {"moments": torch.ones(3), "dim": torch.tensor(-1)}], ids=lambda c: ",".join(c))
def test_features_that_are_not_what_they_should_be_are_made_again(content: dict) -> None:
    path = features.path_of("content", EXTRACTOR, 7)
    features.save_file(content, path)
    assert features.read(path, False) is None
