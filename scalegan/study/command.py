"""Compares objectives on 2-D toys: modes covered, share of good samples, reverse KL, and a picture of all samples.

Several seeds are trained as one batched model, one process per core. The same seeds give the same table, whatever is
asked for beside them.
"""

import argparse
import os
from pathlib import Path

from scalegan.errors import RecipeError
from scalegan.study.settings import OBJECTIVES, SETTINGS


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="scalegan study", description=__doc__)
    parser.add_argument("name", choices=["toy"], help="the study")
    parser.add_argument("--objectives", default=",".join(OBJECTIVES), help="of (default): %(default)s")
    parser.add_argument("--data", default=",".join(SETTINGS), help="of (default): %(default)s")
    parser.add_argument("--seeds", default="0-4", help="such as 0-4 or 1,5 (default 0-4)")
    parser.add_argument("--out", type=Path, default=Path("studies/toy"), help="folder to write into")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: one per core)")
    parser.add_argument("--updates", type=int, help="of G, instead of each data set's own number; for a quick look")
    options = parser.parse_args(arguments)
    objectives = _chosen("--objectives", options.objectives, OBJECTIVES)
    data, seeds = _chosen("--data", options.data, SETTINGS), _seeds(options.seeds)

    from scalegan.study import report
    from scalegan.study.toy import study

    options.out.mkdir(parents=True, exist_ok=True)
    rows, samples = study(objectives, data, seeds, max(1, options.workers), options.updates)
    report.write(options.out, rows, samples)
    print((options.out / "table.md").read_text())
    print((options.out / "picture.png").resolve())
    return 0


def _chosen(option: str, text: str, known: dict) -> list[str]:
    import difflib

    names = text.split(",")
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            raise RecipeError(f"{option}: there is no '{name}'" + (f"; did you mean '{close[0]}'?" if close else
                                                                  f"; there are {', '.join(known)}"))
    return list(dict.fromkeys(names))


def _seeds(text: str) -> list[int]:
    """'0-3,7' to [0, 1, 2, 3, 7]."""
    try:
        parts = [part.partition("-") for part in text.split(",")]
        found = [seed for first, _, last in parts for seed in range(int(first), int(last or first) + 1)]
    except ValueError:
        found = []
    if not found:
        raise RecipeError(f"--seeds {text} is not of the form 0-4 or 1,5,9")
    return list(dict.fromkeys(found))
