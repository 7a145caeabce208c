"""Shard sets by URL (s3://, gs://, http://, ... through fsspec), with a local cache of bounded size.

The manifest and index are fetched at every start, a shard when its first record is requested. Shards are stored under
their SHA-256, so an old version is never taken for a new one, and the least recently used are evicted first. Any number
of this user's processes may share the cache: locks let one fetch what several want, and eviction only unlinks a file,
so a process that has it open can still read it.

A shard counts once this user has compared its SHA-256: `<SHA-256>.checked` then says which file that was. Its time is
that of the last use. Without a cache that can be written to, a folder that goes with the process stands in.
"""

import errno
import fcntl
import hashlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from scalegan.data.manifest import Manifest, Shard
from scalegan.data.reading.origin import INDEX, MANIFEST, Mismatch, RemoteFolder
from scalegan.errors import UserError
from scalegan.support.caching import REMEDY, cache_folder, go_without, make_own, reason, stand_in
from scalegan.support.files import open_own, own_name, replacing, write_whole
from scalegan.support.reading import MEGABYTE

T = TypeVar("T")
_BUSY_SECONDS = 0.1
_LOCKING = os.O_RDWR | os.O_CREAT
_PART, _CHECKED, _LOCK = ".part", ".checked", ".lock"
_MANIFEST_BYTES = 64 * MEGABYTE
_INDEX_RECORD_BYTES, _INDEX_HEADER_BYTES = 28, MEGABYTE    # of a record all columns but its label
_SILENCES_AT_START, _SILENCES = 2, 4


def is_url(path: str) -> bool:
    return "://" in path


class _Trouble(Exception):
    """An OSError of this machine's disk, as against the network's."""

    def __init__(self, error: OSError) -> None:
        self.error = error


class Remote:
    """A shard set at a URL.

    Args:
        url: of the folder that holds manifest.json.
        cache_bytes: size limit of the cache, over all sets and all processes of this machine.
        pause_seconds: delay before the first retry; doubled for each further one.
    """

    def __init__(self, url: str, cache_bytes: int, pause_seconds: float = 1.0) -> None:
        self.url, self.cache_bytes = url.rstrip("/"), cache_bytes
        self.origin = RemoteFolder(self.url, pause_seconds)
        self.set_name = hashlib.sha256(self.url.encode()).hexdigest()[:16]
        self.root: Path | None = None
        self._spare: Path | None = None
        self._seen: dict[str, bytes] = {}   # what `_identity` was when a shard was compared

    def open(self) -> Path:
        """Fetches the manifest and index; returns the local folder that holds them.

        Raises:
            UserError: if there is no such set, the cache is too small for its largest shard, or neither the cache nor
                the folder of temporary files can be written to.
        """
        with suppress(OSError):
            self._spare = self._spare or stand_in()     # the same for all loader processes that are forked later
        return self._anywhere(MANIFEST, self._fetch_index)

    def read(self, shard: Shard, offset: int, size: int) -> bytes:
        """Bytes of a shard, from the cache or fetched into it.

        Raises:
            UserError: if it cannot be fetched, or held anywhere.
        """
        return self._anywhere(shard.name, lambda: self._read(shard, offset, size))

    def drop(self, shard: Shard) -> None:
        """Deletes the local copy of a shard, which is damaged; the next read fetches it again."""
        self._anywhere(shard.name, lambda: self._discard(shard))

    def _anywhere(self, name: str, work: Callable[[], T]) -> T:
        """What `work` gives with the cache; or, where that cannot be written to, with a folder that stands in."""
        while True:
            try:
                self.root = self.root or cache_folder("shards")
                return work()
            except OSError as error:
                self._go_without(name, error)
            except _Trouble as trouble:
                self._go_without(name, trouble.error)

    def _go_without(self, name: str, error: OSError) -> None:
        """Raises UserError where the stand-in is in use already, or cannot be."""
        if self._spare is None or self.root == self._spare:
            where = self.root or os.environ.get("SCALEGAN_CACHE") or "the cache"
            raise UserError(f"cannot cache {self.url}/{name} in {where}: {reason(error)}; {REMEDY}") from error
        if not self._spare.exists():    # else another process has said so
            go_without(f"shards of {self.url}", error)
        self.root, self._seen = self._spare, {}
        try:
            make_own(self.root)
        except OSError as other:
            self._go_without(name, other)

    def _fetch_index(self) -> Path:
        make_own(self.root / "sets")
        folder = self.root / "sets" / self.set_name
        make_own(folder)
        content = self.origin.read(MANIFEST, _MANIFEST_BYTES, _SILENCES_AT_START)
        write_whole(folder / MANIFEST, content, own_name(folder / MANIFEST))
        manifest = Manifest.load(folder)
        unnamed = [shard.name for shard in manifest.shards if not shard.sha256]
        if unnamed:
            raise UserError(f"{self.url}/{MANIFEST} has no SHA-256 for {unnamed[0]}; prepare the data again")
        self._check_room(manifest.shards)
        label_bytes = max(8, len(manifest.labels.names))
        limit = manifest.records * (_INDEX_RECORD_BYTES + label_bytes) + _INDEX_HEADER_BYTES
        with replacing(folder / INDEX, own_name(folder / INDEX)) as unfinished:
            self.origin.fetch(INDEX, min(limit, self.cache_bytes), _SILENCES_AT_START,
                              lambda pieces: _store(pieces, unfinished))
        return folder

    def _check_room(self, shards: tuple[Shard, ...]) -> None:
        largest = max(shard.bytes for shard in shards)
        if largest > self.cache_bytes:
            raise UserError(f"data.cache_bytes={self.cache_bytes} cannot hold the largest shard of {self.url}; set it "
                            f"to at least {largest}")
        total = sum(shard.bytes for shard in shards)
        if total > self.cache_bytes:
            print(f"scalegan: data.cache_bytes={self.cache_bytes:,} holds {self.cache_bytes / total:.0%} of {self.url} "
                  f"({total:,} bytes); shards will be fetched again and again", file=sys.stderr, flush=True)

    def _path_of(self, shard: Shard) -> Path:
        return self.root / f"{shard.sha256}.tar"

    def _discard(self, shard: Shard) -> None:
        path = self._path_of(shard)
        print(f"scalegan: {path} is damaged; fetching {self.url}/{shard.name} again", file=sys.stderr, flush=True)
        path.unlink(missing_ok=True)

    def _read(self, shard: Shard, offset: int, size: int) -> bytes:
        """Opens the file anew each time: an evicted shard that stayed open would still take up disk space."""
        path = self._path_of(shard)
        file = self._checked(shard, path)
        if file is None:
            file = self._fetch(shard, path)
        try:
            with suppress(FileNotFoundError):
                os.utime(path.with_suffix(_CHECKED))    # time of last use, for eviction
            return os.pread(file, size, offset)
        finally:
            os.close(file)

    def _checked(self, shard: Shard, path: Path) -> int | None:
        """The shard, open, where it is there and has its SHA-256; compared if that has not been done yet."""
        try:
            file = _open_own(path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        if self._is_known(shard, path, file):
            return file
        with open(os.dup(file), "rb") as whole:
            found = hashlib.file_digest(whole, "sha256").hexdigest()
        if found == shard.sha256:
            self._note(shard, path, file)
            return file
        os.close(file)
        self._discard(shard)
        return None

    def _is_known(self, shard: Shard, path: Path, file: int) -> bool:
        """Whether the file is the one that was compared last, unchanged."""
        identity = _identity(file)
        if self._seen.get(shard.sha256) != identity:
            try:
                with open(_open_own(path.with_suffix(_CHECKED), os.O_RDONLY), "rb") as note:
                    if note.read(2 * len(identity)) != identity:
                        return False
            except OSError:
                return False
            self._seen[shard.sha256] = identity
        return True

    def _note(self, shard: Shard, path: Path, file: int) -> None:
        self._seen[shard.sha256] = identity = _identity(file)
        note = path.with_suffix(_CHECKED)
        with suppress(OSError):     # the next process then compares it again
            write_whole(note, identity, own_name(note))

    def _fetch(self, shard: Shard, path: Path) -> int:
        """Fetches a shard, unless another process just has; returns it open, as it may be evicted at once."""
        with _locked(path.with_suffix(_LOCK)):
            file = self._checked(shard, path)
            if file is not None:
                return file
            part = path.with_suffix(_PART)
            part.unlink(missing_ok=True)    # left by a killed process
            self._make_room(part, shard.bytes)
            try:
                self.origin.fetch(shard.name, shard.bytes, _SILENCES, lambda pieces: _store(pieces, part, shard.sha256))
                file = _open_own(part, os.O_RDONLY)
                part.rename(path)
                self._note(shard, path, file)
                return file
            finally:
                part.unlink(missing_ok=True)

    def _make_room(self, part: Path, need: int) -> None:
        """Evicts the least recently used shards until `need` bytes fit, and reserves them with a file of that size."""
        while True:
            with _locked(self.root / f"room{_LOCK}"):
                if self._evict(need):
                    with open(open_own(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                        file.truncate(need)
                    return
            time.sleep(_BUSY_SECONDS)   # what remains is being fetched by others

    def _evict(self, need: int) -> bool:
        self._drop_abandoned()
        kept = sorted((_last_use(p, s), s.st_size, p) for p in self.root.glob("*.tar") if (s := _stat(p)))
        fetching = sum(s.st_size for p in self.root.glob(f"*{_PART}") if (s := _stat(p)))
        used = fetching + sum(size for _, size, _ in kept)
        for _, size, path in kept:
            if used + need <= self.cache_bytes:
                break
            path.unlink(missing_ok=True)
            path.with_suffix(_CHECKED).unlink(missing_ok=True)
            used -= size
        return used + need <= self.cache_bytes

    def _drop_abandoned(self) -> None:
        """Removes partial files of killed processes, whose lock no one holds."""
        for part in self.root.glob(f"*{_PART}"):
            with open(_open_own(part.with_suffix(_LOCK), _LOCKING), "rb") as lock, suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                part.unlink(missing_ok=True)


def _store(pieces: Iterator[bytes], path: Path, sha256: str | None = None) -> None:
    """Writes to a file that is there. Raises Mismatch where the bytes are others than the manifest says."""
    hasher = hashlib.sha256()
    with _local():
        file = open(_open_own(path, os.O_WRONLY), "wb", buffering=0)  # noqa: SIM115 -- in `with` just below
    with file:
        for piece in pieces:
            hasher.update(piece)
            while piece:
                with _local():
                    piece = piece[file.write(piece):]
        file.truncate()     # what an attempt before has left
    if sha256 not in (None, hasher.hexdigest()):
        raise Mismatch("its SHA-256 differs from the manifest's")


@contextmanager
def _local() -> Iterator[None]:
    """Tells an OSError in the block from the network's, after which it is worth trying again."""
    try:
        yield
    except OSError as error:
        raise _Trouble(error) from error


def _open_own(path: Path, flags: int) -> int:
    """A descriptor of a file of the cache. What else has been planted under its name is removed, never followed."""
    try:
        file = open_own(path, flags, 0o600)
        if os.fstat(file).st_uid == os.geteuid():
            return file
        os.close(file)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EINVAL):
            raise
    path.unlink(missing_ok=True)
    return open_own(path, flags, 0o600)


def _identity(file: int) -> bytes:
    """What changes if a file is replaced or written to."""
    found = os.fstat(file)
    return f"{found.st_dev} {found.st_ino} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}".encode()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with open(_open_own(path, _LOCKING), "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _last_use(path: Path, found: os.stat_result) -> int:
    return (_stat(path.with_suffix(_CHECKED)) or found).st_mtime_ns


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None
