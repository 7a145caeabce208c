"""Shard sets by URL (s3://, gs://, http://, ... through fsspec), with a local cache of bounded size.

The manifest and index are fetched at every start, a shard when its first record is requested. Shards are stored under
their SHA-256, so an old version is never taken for a new one, and the least recently used are evicted first. Any number
of processes may share the cache: locks let one fetch what several want, and eviction only unlinks a file, so a process
that has it open can still read it.
"""

import fcntl
import hashlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import fsspec

from scalegan.data.manifest import Manifest, Shard
from scalegan.errors import UserError
from scalegan.support.files import own_name, write_whole
from scalegan.support.paths import cache_root

T = TypeVar("T")
_PIECE = 1 << 20
_ATTEMPTS = 5
_BUSY_SECONDS = 0.1
_PART = ".part"
_GONE = (403, 404, 410)


def is_url(path: str) -> bool:
    return "://" in path


class Remote:
    """A shard set at a URL.

    Args:
        url: of the folder that holds manifest.json.
        cache_bytes: size limit of the cache, over all sets and all processes of this machine.
        pause_seconds: delay before the first retry; doubled for each further one.
    """

    def __init__(self, url: str, cache_bytes: int, pause_seconds: float = 1.0) -> None:
        self.url, self.cache_bytes, self.pause_seconds = url.rstrip("/"), cache_bytes, pause_seconds
        self.root = cache_root() / "shards"
        self.folder = self.root / "sets" / hashlib.sha256(self.url.encode()).hexdigest()[:16]

    def open(self) -> Path:
        """Fetches the manifest and index; returns the local folder that holds them.

        Raises:
            UserError: if there is no such set, or the cache is too small for its largest shard or cannot be written.
        """
        try:
            self._fetch_index()
        except OSError as error:
            raise self._cache_error("manifest.json", error) from error
        shards = Manifest.load(self.folder).shards
        unnamed = [shard.name for shard in shards if not shard.sha256]
        if unnamed:
            raise UserError(f"{self.url}/manifest.json has no SHA-256 for {unnamed[0]}; prepare the data again")
        self._check_room(shards)
        return self.folder

    def _fetch_index(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in ("manifest.json", "index.safetensors"):
            content = self._with_retries(name, lambda name=name: self._content(name))
            write_whole(self.folder / name, content, own_name(self.folder / name))

    def _check_room(self, shards: tuple[Shard, ...]) -> None:
        largest = max(shard.bytes for shard in shards)
        if largest > self.cache_bytes:
            raise UserError(f"data.cache_bytes={self.cache_bytes} cannot hold the largest shard of {self.url}; set it "
                            f"to at least {largest}")
        total = sum(shard.bytes for shard in shards)
        if total > self.cache_bytes:
            print(f"scalegan: data.cache_bytes={self.cache_bytes:,} holds {self.cache_bytes / total:.0%} of {self.url} "
                  f"({total:,} bytes); shards will be fetched again and again", file=sys.stderr, flush=True)

    def read(self, shard: Shard, offset: int, size: int) -> bytes:
        """Bytes of a shard, from the cache or fetched into it.

        Raises:
            UserError: if it cannot be fetched or cached.
        """
        try:
            return self._read(shard, offset, size)
        except OSError as error:
            raise self._cache_error(shard.name, error) from error

    def drop(self, shard: Shard) -> None:
        """Deletes the local copy of a shard, which is damaged; the next read fetches it again."""
        path = self.root / f"{shard.sha256}.tar"
        print(f"scalegan: {path} is damaged; fetching {self.url}/{shard.name} again", file=sys.stderr, flush=True)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise self._cache_error(shard.name, error) from error

    def _cache_error(self, name: str, error: OSError) -> UserError:
        return UserError(f"cannot cache {self.url}/{name} in {self.root}: {error}; set SCALEGAN_CACHE to a writable "
                         "folder with enough space")

    def _read(self, shard: Shard, offset: int, size: int) -> bytes:
        """Opens the file anew each time: an evicted shard that stayed open would still take up disk space."""
        path = self.root / f"{shard.sha256}.tar"
        try:
            file = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            file = self._fetch(shard, path)
        try:
            with suppress(FileNotFoundError):
                os.utime(path)      # time of last use, for eviction
            return os.pread(file, size, offset)
        finally:
            os.close(file)

    def _fetch(self, shard: Shard, path: Path) -> int:
        """Fetches a shard, unless another process just has; returns it open, as it may be evicted at once."""
        with _locked(path.with_suffix(".lock")):
            with suppress(FileNotFoundError):
                return os.open(path, os.O_RDONLY)
            part = path.with_suffix(_PART)
            part.unlink(missing_ok=True)    # left by a killed process
            self._make_room(part, shard.bytes)
            try:
                self._with_retries(shard.name, lambda: self._download(shard, part))
                file = os.open(part, os.O_RDONLY)
                part.rename(path)
                return file
            finally:
                part.unlink(missing_ok=True)

    def _make_room(self, part: Path, need: int) -> None:
        """Evicts the least recently used shards until `need` bytes fit, and reserves them with a file of that size."""
        while True:
            with _locked(self.root / "room.lock"):
                if self._evict(need):
                    with part.open("wb") as file:
                        file.truncate(need)
                    return
            time.sleep(_BUSY_SECONDS)   # what remains is being fetched by others

    def _evict(self, need: int) -> bool:
        self._drop_abandoned()
        kept = sorted((s.st_mtime_ns, s.st_size, p) for p in self.root.glob("*.tar") if (s := _stat(p)))
        fetching = sum(s.st_size for p in self.root.glob(f"*{_PART}") if (s := _stat(p)))
        used = fetching + sum(size for _, size, _ in kept)
        for _, size, path in kept:
            if used + need <= self.cache_bytes:
                break
            path.unlink(missing_ok=True)
            used -= size
        return used + need <= self.cache_bytes

    def _drop_abandoned(self) -> None:
        """Removes partial files of killed processes, whose lock no one holds."""
        for part in self.root.glob(f"*{_PART}"):
            with part.with_suffix(".lock").open("w") as lock, suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                part.unlink(missing_ok=True)

    def _download(self, shard: Shard, part: Path) -> None:
        hasher = hashlib.sha256()
        with self._open(shard.name) as source, part.open("r+b") as file:
            while piece := source.read(_PIECE):
                if file.tell() + len(piece) > shard.bytes:
                    raise OSError("it is longer than the manifest says")
                hasher.update(piece)
                file.write(piece)
        if hasher.hexdigest() != shard.sha256:
            raise OSError("its SHA-256 differs from the manifest's")

    def _content(self, name: str) -> bytes:
        with self._open(name) as file:
            return file.read()

    def _open(self, name: str):
        # Over HTTP, whole files are streamed: not every server supports range requests.
        options = {"block_size": 0} if self.url.startswith("http") else {}
        filesystem, path = fsspec.core.url_to_fs(f"{self.url}/{name}")
        return filesystem.open(path, "rb", **options)

    def _with_retries(self, name: str, fetch: Callable[[], T]) -> T:
        """Raises UserError once retries are exhausted, or at once if the file does not exist."""
        pause = self.pause_seconds
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return fetch()
            except (ImportError, ValueError) as error:
                raise UserError(f"cannot open {self.url}: {error}") from error
            except _network_errors() as error:
                if _is_missing(error):
                    raise UserError(f"there is no {self.url}/{name}; set data.path to the URL of a folder that "
                                    "`scalegan prepare` wrote") from error
                reason = error.__cause__ or error
                if attempt == _ATTEMPTS:
                    raise UserError(f"cannot fetch {self.url}/{name} in {attempt} attempts: {reason}") from error
                print(f"scalegan: {self.url}/{name}: {reason}; trying again in {pause:g} s", file=sys.stderr,
                      flush=True)
                time.sleep(pause)
                pause *= 2
        raise AssertionError("the loop returns or raises")


def _is_missing(error: Exception) -> bool:
    """Whether the file does not exist. Over HTTP, fsspec says so even if the server does not answer or fails; the
    actual reason is the cause."""
    cause = error.__cause__
    of_http = type(cause).__module__.startswith("aiohttp")
    outage = isinstance(cause, TimeoutError) or (of_http and getattr(cause, "status", None) not in _GONE)
    return isinstance(error, FileNotFoundError) and not outage


def _network_errors() -> tuple[type[Exception], ...]:
    """OSError, and what the libraries beneath fsspec raise instead of it."""
    found: list[type[Exception]] = [OSError, EOFError, TimeoutError]
    for module, name in (("aiohttp", "ClientError"), ("botocore.exceptions", "BotoCoreError"),
                         ("botocore.exceptions", "ClientError")):
        if module in sys.modules:
            found.append(getattr(sys.modules[module], name))
    return tuple(found)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None
