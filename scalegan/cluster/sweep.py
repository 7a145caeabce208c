"""Expands `recipe=a,b seed=0-4` into every combination, in folders named after what varies."""

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from scalegan.config import Recipe

_RANGE = re.compile(r"([0-9]+)-([0-9]+)")
_OUTSIDE_BRACKETS = re.compile(r",(?![^\[{]*[\]}])")


def expand(arguments: list[str]) -> list[list[str]]:
    """The arguments of each run: a single list if nothing varies.

    A value varies if it has commas outside brackets or is a range of two whole numbers. Two kinds of keys differ:
    texts, such as paths, never vary, as they may have commas themselves; and lists vary only with brackets around
    each, as in `eval.metrics=[fid],[kid]`, for `fid,kid` is one list. The runs of a sweep are sub-folders of run_dir,
    or of runs/<recipes>-sweep, with names such as `recipe=a,seed=0`.
    """
    choices, varying = _choices(arguments), varying_keys(arguments)
    if not varying:
        return [arguments]
    others = [argument for argument in arguments if "=" not in argument]
    names = "-".join(Path(name).stem for name in choices.get("recipe", ["runs"]))
    folder = Path(choices.pop("run_dir", [f"runs/{names}-sweep"])[0])
    runs = []
    for values in product(*choices.values()):
        run = dict(zip(choices, values))
        name = ",".join(f"{key}={Path(run[key]).stem if key == 'recipe' else run[key]}" for key in varying)
        runs.append([*others, *(f"{key}={value}" for key, value in run.items()),
                     f"run_dir={folder / name.replace('/', '_')}"])
    return runs


def varying_keys(arguments: list[str]) -> list[str]:
    """The keys that have several values."""
    return [key for key, values in _choices(arguments).items() if len(values) > 1]


def _choices(arguments: list[str]) -> dict[str, list[str]]:
    return {key: _values(key, value) for key, sign, value in (a.partition("=") for a in arguments) if sign}


def _values(key: str, text: str) -> list[str]:
    types = set() if key == "recipe" else set(_types_of(key.split("."), Recipe))
    if str in types and types <= {str, type(None)}:
        return [text]
    parts = _OUTSIDE_BRACKETS.split(text)
    if tuple in types and not all(part.startswith("[") for part in parts):
        return [text]
    whole = _RANGE.fullmatch(text)
    if whole and int(whole[1]) <= int(whole[2]):
        return [str(number) for number in range(int(whole[1]), int(whole[2]) + 1)]
    return parts


def _types_of(parts: list[str], annotation: Any) -> Iterator[Any]:
    """The plain types of a key's values, of every group that has such a key; none for a key that is not known."""
    origin, within = get_origin(annotation), get_args(annotation)
    if is_dataclass(annotation):
        yield from () if parts else [dict]
        for field in fields(annotation) if parts else ():
            if field.name == parts[0]:
                yield from _types_of(parts[1:], field.type)
    elif origin is dict:
        yield from _types_of(parts[1:], within[1]) if parts else [dict]
    elif origin is tuple or annotation in (str, int, float, bool, type(None)):
        yield from () if parts else [origin or annotation]
    elif hasattr(annotation, "__metadata__"):       # Annotated
        yield from _types_of(parts, within[0])
    elif within and all(isinstance(value, str) for value in within):       # Literal
        yield from () if parts else [Literal]
    else:
        for one in within:
            yield from _types_of(parts, one)
