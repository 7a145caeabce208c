"""Files that are there whole or not at all."""

import os
from pathlib import Path


def write_whole(path: Path, content: bytes, temporary: Path | None = None) -> None:
    """Writes under a temporary name, syncs and renames. Who may write at the same time as others gives their own."""
    temporary = temporary or path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
