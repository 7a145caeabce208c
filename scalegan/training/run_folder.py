"""The run folder: used by one run at a time, the same for all ranks, with the resolved recipe beside the results."""

import re
import socket
import uuid
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from scalegan.engines.ranks import Ranks
from scalegan.errors import RecipeError, SharedError
from scalegan.support.files import write_whole
from scalegan.training.run_lock import RunLock

# Keys that identify a run: changing one makes a different run. Others may change on resume, which is recorded in
# config.<images>.yaml.
IDENTITY = ("seed", "batch_size", "micro_batch_size", "lanes", "model", "game", "data.resolution", "data.labels",
            "augment.name", "data.flip", "data.block_records", "data.window_blocks", "data.content", "fixed",
            "freeze", "init_content", "init_classes")
_STREAM_KEYS = tuple(key.removeprefix("data.") for key in IDENTITY if key.startswith("data."))


def claim(folder: Path, ranks: Ranks) -> RunLock | None:
    """Locks the folder for this run and checks that all ranks see the same one. Returns the lock on rank 0.

    Raises:
        SharedError: if another run holds it, or the ranks see different folders.
    """
    lock = ranks.run_collectively(lambda: RunLock(folder) if ranks.is_main else None)
    if ranks.world_size > 1:
        token = ranks.broadcast(f".ranks-{uuid.uuid4().hex}")
        if ranks.is_main:
            (folder / token).touch()
        ranks.barrier()
        views = ranks.all_gather((socket.gethostname(), (folder / token).exists()))
        blind = [f"rank {rank} on {host}" for rank, (host, sees) in enumerate(views) if not sees]
        if ranks.is_main:
            (folder / token).unlink()
        if blind:
            raise SharedError(f"the run folder {folder.resolve()} of rank 0 on {views[0][0]} is not visible to "
                              f"{', '.join(blind[:8])}; set run_dir to storage that all nodes share")
    return lock


def write_config(folder: Path, config: dict[str, Any], records: dict[str, Any], images: int,
                 before: dict[str, Any] | None) -> list[str]:
    """Writes config.yaml, or beside it config.<images>.yaml if the recipe changed on resume; returns the changed keys.
    `before` is the recipe of the checkpoint that the run goes on from, which may be another run's."""
    path = folder / "config.yaml"
    text = OmegaConf.to_yaml(OmegaConf.create({**config, "records": records}))
    changed = [] if before is None else differences(before, config)
    if changed and path.exists():
        path = folder / f"config.{images}.yaml"
    if changed or before is None or not path.exists():
        write_whole(path, text)
    return changed


def forget_configs(folder: Path, images: int) -> None:
    """Renames the recipes of a branch that was abandoned at `images`, so that none passes for the run's latest."""
    for path in folder.glob("config.*.yaml"):
        since = re.fullmatch(r"config\.([0-9]+)\.yaml", path.name)
        if since and int(since[1]) > images:
            path.rename(path.with_name(f"{path.name}.abandoned-{uuid.uuid4().hex[:6]}"))


def check_identity(before: dict[str, Any], now: dict[str, Any], folder: Path) -> None:
    """Raises RecipeError for a change that makes a different run. Both dictionaries hold recipe and data.content."""
    for key in differences(before, now):
        if _is_identity(key):
            raise RecipeError(f"{folder} holds a run with {key}={look_up(before, key)}, but the recipe says "
                              f"{look_up(now, key)}: that is a different run. Choose another run_dir, or name the "
                              "checkpoint in resume=PATH to continue from it anyway")


def _is_identity(key: str) -> bool:
    """Whether changing this key makes a different run; for streams, the same keys count as for data."""
    if key.startswith("streams."):
        return key.rpartition(".")[2] in _STREAM_KEYS or key.count(".") == 1
    return any(key == own or key.startswith(own + ".") for own in IDENTITY)


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
