"""The checkpoints in a run's folder, by name. Does not import torch."""

import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scalegan.support.reading import or_none, read_json

STATE = "state.json"
_NAME = re.compile("[0-9]{12,15}")


def images_of(name: str) -> int | None:
    """The images in a checkpoint's name; None for any other name. `isdigit` would admit `²`, and int `٣٣`."""
    return int(name) if _NAME.fullmatch(name) and f"{int(name):012d}" == name else None


def complete(folder: Path) -> list[Path]:
    """Complete checkpoints of a folder, by name, oldest first."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if images_of(path.name) is not None and (path / "COMPLETE").is_file()]
    return sorted(found, key=lambda path: int(path.name))


def newest_of(folder: Path) -> Path | None:
    """The newest complete checkpoint whose name matches its state, whether or not its tensors are intact."""
    return next((path for path in reversed(complete(folder)) if is_named_rightly(path)), None)


def is_named_rightly(path: Path) -> bool:
    """Whether a checkpoint's state is at the number of images in its name."""
    state: dict[str, Any] | None = or_none(lambda: read_json(path / STATE))
    return state is not None and state.get("images") == images_of(path.name)


def run_of(path: Path) -> Path | None:
    """The run folder: the path itself, or that of the checkpoint it names; None for anything else."""
    if (path / "checkpoints").is_dir():
        return path
    checkpoint = path.absolute()
    of_a_run = (checkpoint / "COMPLETE").is_file() and checkpoint.parent.name == "checkpoints"
    return checkpoint.parent.parent if of_a_run else None


def set_aside(path: Path, why: str) -> Path:
    """Renames a checkpoint so that it is never chosen automatically; it can still be named."""
    aside = path.with_name(f"{path.name}.{why}-{uuid.uuid4().hex[:6]}")
    path.rename(aside)
    return aside


def dangling_links(folder: Path) -> Iterator[Path]:
    """`best-<metric>` links to checkpoints that are gone."""
    return (path for path in folder.glob("best-*") if path.is_symlink() and not path.exists())
