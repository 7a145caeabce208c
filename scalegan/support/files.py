"""Files that are written completely or not at all, and files written in place without following planted links."""

import contextlib
import errno
import fcntl
import os
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path, temporary: Path | None = None) -> Iterator[Path]:
    """Yields a new, empty file to write to, which becomes `path` once the block is done and the file is on disk.

    Args:
        temporary: for concurrent writers, a name of their own (`own_name`); by default, `path` with `.tmp` appended.
    """
    temporary = temporary or path.with_name(path.name + ".tmp")
    temporary.unlink(missing_ok=True)       # left by a killed process, or a link that someone planted there
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666))
    try:
        yield temporary
        sync(temporary)
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def own_name(path: Path) -> Path:
    """A temporary name beside `path` that no other process uses."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}")


def write_whole(path: Path, content: bytes | str, temporary: Path | None = None) -> None:
    """Writes a complete file, text as UTF-8; see `replacing`."""
    with replacing(path, temporary) as unfinished:
        unfinished.write_bytes(content.encode() if isinstance(content, str) else content)


def append_line(path: Path, line: str) -> None:
    """Adds a line to a file in a single write, so that lines of several processes do not mix. A line that a killed
    process left half-written is ended first. Raises OSError for a link in its place; see `open_own`."""
    descriptor = open_own(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
    with open(descriptor, "ab", buffering=0) as file:
        with contextlib.suppress(OSError):      # a file system without locks, on which an empty line may slip in
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        size = os.fstat(descriptor).st_size
        whole = size == 0 or os.pread(descriptor, 1, size - 1) == b"\n"
        content = (line + "\n").encode() if whole else f"\n{line}\n".encode()
        while content:
            content = content[file.write(content):]


def open_own(path: Path, flags: int, mode: int = 0o666) -> int:
    """A descriptor of our own file in a folder that others may write to, where a link may lead to someone else's.

    Raises:
        OSError: also if `path` is a symbolic link, a folder, a pipe or a device.
    """
    try:
        # Without O_NONBLOCK, opening a pipe would wait for its other end.
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, mode)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "it is a symbolic link, which is not followed here; remove it",
                          str(path)) from None
        if error.errno != errno.ENXIO:      # a pipe that no one reads
            raise
    else:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return descriptor
        os.close(descriptor)
    raise OSError(errno.EINVAL, "it is not a regular file; remove it", str(path))


def sync(path: Path) -> None:
    """Flushes a file or folder to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
