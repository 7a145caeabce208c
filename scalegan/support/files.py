"""Files that are there whole or not at all."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path, temporary: Path | None = None) -> Iterator[Path]:
    """A temporary name to write to, which becomes `path` once the block is through and the file is on disk.

    Args:
        temporary: of who may write at the same time as others (`own_name`); else the name with `.tmp` behind it.
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
    """A temporary name beside `path` that no other process has."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}")


def write_whole(path: Path, content: bytes | str, temporary: Path | None = None) -> None:
    """Writes all of a file, text as UTF-8; see `replacing`."""
    with replacing(path, temporary) as unfinished:
        unfinished.write_bytes(content.encode() if isinstance(content, str) else content)


def sync(path: Path) -> None:
    """Waits until a file or a folder is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
