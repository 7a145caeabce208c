"""Expands `recipe=a,b seed=0-4` into every combination, in folders named after what varies."""

import re
from itertools import product
from pathlib import Path

_RANGE = re.compile(r"(\d+)-(\d+)")
_NEVER_SPLIT = ("run_dir", "data.path", "resume")  # paths may contain commas or look like a range


def expand(arguments: list[str]) -> list[list[str]]:
    """The arguments of each run: a single list if nothing varies.

    A value varies if it has commas outside brackets or is a range of two whole numbers. The runs of a sweep are
    sub-folders of run_dir, or of runs/<recipes>-sweep, with names such as `recipe=a,seed=0`.
    """
    choices = {key: _values(key, value) for key, _, value in (a.partition("=") for a in arguments)}
    varying = [key for key, values in choices.items() if len(values) > 1]
    if not varying:
        return [arguments]
    names = "-".join(Path(name).stem for name in choices.get("recipe", ["runs"]))
    folder = Path(choices.pop("run_dir", [f"runs/{names}-sweep"])[0])
    runs = []
    for values in product(*choices.values()):
        run = dict(zip(choices, values))
        name = ",".join(f"{key}={Path(run[key]).stem if key == 'recipe' else run[key]}" for key in varying)
        runs.append([*(f"{key}={value}" for key, value in run.items()), f"run_dir={folder / name.replace('/', '_')}"])
    return runs


def _values(key: str, text: str) -> list[str]:
    if key in _NEVER_SPLIT:
        return [text]
    whole = _RANGE.fullmatch(text)
    if whole and int(whole[1]) <= int(whole[2]):
        return [str(number) for number in range(int(whole[1]), int(whole[2]) + 1)]
    return re.split(r",(?![^\[{]*[\]}])", text)
