"""Shows the status of runs: state, images, images/s, time left, last checkpoint, restarts, nodes.

RUN is a run folder, with or without a SLURM job, or a folder of runs, such as a sweep's.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from scalegan.cluster.status import describe, runs_of

COLUMNS = ("run", "state", "images", "images/s", "left", "checkpoint", "restarts", "nodes")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="scalegan status", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--json", action="store_true", help="print one JSON object per run")
    options = parser.parse_args(arguments)
    found = [describe(run) for given in options.runs for run in runs_of(given)]
    if options.json:
        print("\n".join(json.dumps(facts) for facts in found))
        return 0
    rows = [COLUMNS, *(_row(facts) for facts in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    return 0


def _row(facts: dict[str, Any]) -> tuple[str, ...]:
    total = f" of {facts['total_images']:,}" if facts["total_images"] else ""
    checkpoint = "-" if facts["checkpoint"] is None else (
        f"{facts['checkpoint']:,}, {_duration(facts['checkpoint_age_seconds'])} ago")
    rate = "-" if facts["images_per_second"] is None else f"{facts['images_per_second']:,.0f}"
    left = "-" if facts["seconds_left"] is None else _duration(facts["seconds_left"])
    state = facts["state"] + (f" ({facts['why']})" if facts["why"] else "")
    return (facts["run"], state, f"{facts['images']:,}{total}", rate, left, checkpoint, str(facts["restarts"]),
            facts["nodes"] or "-")


def _duration(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
