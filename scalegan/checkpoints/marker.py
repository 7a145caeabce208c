"""`COMPLETE`, the marker of a complete checkpoint: size and SHA-256 of every file in it. Does not import torch."""

import hashlib
import os
import stat
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from scalegan.checkpoints.listing import STATE
from scalegan.support.reading import DamagedFile, read_json

MARKER = "COMPLETE"
FileName = Annotated[str, Field(strict=True, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]    # no paths


@dataclass(frozen=True)
class Fingerprint:
    bytes: Annotated[int, Field(strict=True, ge=0)]
    sha256: Annotated[str, Field(strict=True, pattern="^[0-9a-f]{64}$")]


def fingerprint(path: Path) -> dict[str, Any]:
    """Size and SHA-256 of a regular file. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # opening a pipe would wait
    with open(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(f"{path.name} is not a regular file")
        return {"bytes": found.st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def listed(path: Path) -> dict[str, Fingerprint]:
    """The files of a checkpoint, as its marker lists them.

    Raises:
        DamagedFile: if the marker is missing or damaged, or does not list a state and tensors.
    """
    marker = path / MARKER
    try:
        files = read_json(marker, dict[FileName, Fingerprint])
    except FileNotFoundError as error:
        raise DamagedFile(f"{path} has no {MARKER}: it is not a complete checkpoint") from error
    if STATE not in files:
        raise DamagedFile(f"{marker} does not list {STATE}")
    if not any(is_shard(name) for name in files):
        raise DamagedFile(f"{marker} lists no tensors (*.safetensors)")
    return files


def shards(path: Path) -> list[Path]:
    """The tensor files of a checkpoint; others beside them do not belong to it. Raises the same errors as `listed`."""
    return [path / name for name in sorted(listed(path)) if is_shard(name)]


def is_shard(name: str) -> bool:
    return name.endswith(".safetensors")


def broken(path: Path) -> str | None:
    """What differs from the marker, or is wrong with it; None if nothing does."""
    try:
        for name, expected in listed(path).items():
            if not (path / name).is_file():
                return f"{name} is missing"
            if fingerprint(path / name) != asdict(expected):
                return f"{name} has changed since it was written"
    except (OSError, DamagedFile) as error:
        return str(error)
    return None
