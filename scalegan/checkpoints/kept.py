"""Networks that stay in memory between loads, where one process answers many questions about a few files."""

import copy
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

from torch import nn

Networks = dict[str, nn.Module]
_kept: OrderedDict[tuple, Networks] = OrderedDict()
_most = 0


@contextmanager
def keeping(most: int) -> Iterator[None]:
    """Within it, the results of the last `most` different loads are kept, and each load gets a copy of its own, as
    callers may train networks or move them to another device."""
    global _most
    _most = most
    try:
        yield
    finally:
        _most = 0
        _kept.clear()


def through(load: Callable[..., Networks]) -> Callable[..., Networks]:
    """Makes a function from a path, and more, keep what it loads."""
    @wraps(load)
    def loaded(path: str | Path, *arguments: Any, **options: Any) -> Networks:
        if not _most:
            return load(path, *arguments, **options)
        key = (str(path), version(Path(path)), arguments, tuple(options.items()))
        if key not in _kept:
            _kept[key] = load(path, *arguments, **options)
            while len(_kept) > _most:
                _kept.popitem(last=False)
        _kept.move_to_end(key)
        return copy.deepcopy(_kept[key])

    return loaded


def version(path: Path) -> tuple:
    """What changes when a run, a checkpoint or an export gets other weights."""
    markers = [path, path / "COMPLETE", *sorted((path / "checkpoints").glob("*/COMPLETE"))]
    return tuple((marker.parent.name, marker.stat().st_mtime_ns) for marker in markers if marker.is_file())
