"""A run's folder: one run at a time in it, one folder for all ranks, and the recipe frozen beside the results."""

import fcntl
import os
import socket
import time
import uuid
from pathlib import Path
from typing import Any, TextIO

from omegaconf import OmegaConf

from scalegan.engines.ranks import Ranks
from scalegan.errors import RecipeError, SharedError, UserError

# What makes a run another run; anything else may change on resume, and is kept as config.<images>.yaml.
IDENTITY = ("seed", "batch_size", "micro_batch_size", "lanes", "model", "game", "data.resolution", "data.labels",
            "data.flip", "data.block_records", "data.window_blocks", "data.content")
_PATIENCE_SECONDS = 10.0


def claim(folder: Path, ranks: Ranks) -> TextIO | None:
    """Locks the folder for this run and proves that all ranks see the same one. Keep what is returned.

    Raises:
        SharedError: where another run has it, or the ranks see different folders.
    """
    lock = ranks.together(lambda: _lock(folder) if ranks.first else None)
    if ranks.world > 1:
        token = ranks.share(f".ranks-{uuid.uuid4().hex}")
        if ranks.first:
            (folder / token).touch()
        ranks.wait()
        blind = [rank for rank, sees in enumerate(ranks.gather((folder / token).exists())) if not sees]
        if ranks.first:
            (folder / token).unlink()
        if blind:
            raise SharedError(f"rank {blind[0]} does not see rank 0's run folder {folder.resolve()}; "
                            "run_dir must lie on storage that all nodes share")
    return lock


def _lock(folder: Path) -> TextIO:
    """A POSIX lock: it goes with the process, and forked loader workers do not inherit it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("a+")
    except OSError as error:
        raise UserError(f"cannot write to the run folder {folder}: {error.strerror}") from error
    until = time.monotonic() + _PATIENCE_SECONDS  # a killed predecessor may still be going
    while True:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError:
            if time.monotonic() > until:
                file.seek(0)
                owner = file.read().strip() or "another process"
                raise UserError(f"the run folder {folder} is in use by {owner}; "
                                "stop it first, or choose another run_dir") from None
            time.sleep(0.2)
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}")
    file.flush()
    return file


def freeze(folder: Path, config: dict[str, Any], records: dict[str, Any], images: int,
           before: dict[str, Any] | None) -> list[str]:
    """Writes config.yaml, or config.<images>.yaml where a resumed recipe differs; returns what changed."""
    path = folder / "config.yaml"
    text = OmegaConf.to_yaml(OmegaConf.create({**config, "records": records}))
    changed = [] if before is None else differences(before, config)
    if changed:
        path = folder / f"config.{images}.yaml"
    if changed or before is None or not path.exists():
        temporary = path.with_suffix(".tmp")
        temporary.write_text(text)
        temporary.rename(path)
    return changed


def check_identity(before: dict[str, Any], now: dict[str, Any], folder: Path) -> None:
    """Refuses to go on as another run. Both hold the recipe as dictionaries, and data.content."""
    for key in differences(before, now):
        if any(key == own or key.startswith(own + ".") for own in IDENTITY):
            raise RecipeError(f"{folder} holds a run with {key}={look_up(before, key)}, and the recipe says "
                              f"{look_up(now, key)}: that is another run. Choose another run_dir, or name the "
                              "checkpoint in resume=PATH to go on all the same")


def differences(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> list[str]:
    """Dotted keys whose values differ."""
    found = []
    for key in sorted(before.keys() | now.keys()):
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            found += differences(old, new, f"{prefix}{key}.")
        elif old != new:
            found.append(prefix + key)
    return found


def look_up(tree: dict[str, Any], dotted: str) -> Any:
    for part in dotted.split("."):
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree
