"""Where the recipes of several runs differ, and which of those keys bear on the result."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

# Reports, storage and the machine.
_BESIDES = ("checkpoint", "data.backend", "data.cache_bytes", "data.workers", "emas", "engine", "eval", "health", "log",
            "power_ema", "records", "resume", "snapshot")
_NOTHING = (None, {}, [])
_HASH = re.compile("[0-9a-f]{32,}")
_SHORT_HASH = 8


@dataclass(frozen=True)
class Difference:
    """A key whose values differ.

    Args:
        key: dotted.
        values: a text for each run, empty if its recipe has no such key.
        matters: whether it bears on the result, and differs between recipes that have it. What only some have is the
            keys of another game or augmentation, whose name differs already.
    """

    key: str
    values: tuple[str, ...]
    matters: bool


def differences(recipes: Sequence[dict[str, Any] | None], prefix: str = "") -> Iterator[Difference]:
    """Every key that differs between the recipes, in their order, but for the run's own folder.

    Args:
        recipes: the recipes, or the part of them that `prefix` names; None for those without it.
    """
    parts = [recipe or {} for recipe in recipes]
    for key in dict.fromkeys(key for part in parts for key in part):
        dotted, found = prefix + key, [part[key] for part in parts if key in part]
        if dotted == "run_dir":
            continue
        if all(isinstance(value, dict) for value in found) and any(found):
            yield from differences([part.get(key) for part in parts], f"{dotted}.")
            continue
        differ = any(value != found[0] for value in found)
        if differ or (len(found) < len(parts) and found[0] not in _NOTHING):
            matters = differ and not f"{dotted}.".startswith(tuple(f"{beside}." for beside in _BESIDES))
            yield Difference(dotted, tuple(text(part[key]) if key in part else "" for part in parts), matters)


def text(value: Any) -> str:
    """A value in few characters: 1,000,000; 0.0002; 0.5, 0.99; start 0.2, end 0.02; the first eight of a hash."""
    if isinstance(value, bool):
        return str(value).lower()
    if value in _NOTHING:
        return "none"
    if isinstance(value, dict):
        return ", ".join(f"{key} {text(inner)}" for key, inner in value.items() if inner not in _NOTHING)
    if isinstance(value, list):
        return ", ".join(map(text, value))
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.6g}"
    return _HASH.sub(lambda found: found[0][:_SHORT_HASH], str(value))
