"""Files that are written completely or not at all."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path, temporary: Path | None = None) -> Iterator[Path]:
    """Yields a temporary name to write to, which becomes `path` once the block is done and the file is on disk.

    Args:
        temporary: for concurrent writers, a name of their own (`own_name`); by default, `path` with `.tmp` appended.
    """
    temporary = temporary or path.with_name(path.name + ".tmp")
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


def sync(path: Path) -> None:
    """Flushes a file or folder to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
