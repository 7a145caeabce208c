"""Shows the status of runs: state, images, images/s, time left, last checkpoint, restarts, nodes.

RUN is a run folder, with or without a SLURM job, or a folder of runs, such as a sweep's.
"""

import json
from pathlib import Path
from typing import Any

from scalegan.cluster.job_states import JobStates
from scalegan.cluster.records import Job, read_job
from scalegan.cluster.status import described, named_runs
from scalegan.errors import UserError
from scalegan.support.arguments import report, verb_parser
from scalegan.support.progress import duration

COLUMNS = ("run", "state", "images", "images/s", "left", "checkpoint", "restarts", "nodes")


def main(arguments: list[str]) -> int:
    parser = verb_parser("status", __doc__,
                         "status runs/digits",
                         "status /shared/runs/sweep --json")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--json", action="store_true", help="print one JSON object per run")
    options = parser.parse_args(arguments)
    runs, problems = named_runs(options.runs)
    found, more = _describe(runs)
    _print(found, options.json)
    return report(problems + more)


def _describe(runs: list[Path]) -> tuple[list[dict[str, Any]], list[str]]:
    """The runs' status, and an error line for each reason why it is not known."""
    jobs: dict[Path, Job | None] = {}
    found, problems, states = [], [], JobStates(patience=None)
    for run in runs:
        try:
            jobs[run] = read_job(run)
        except UserError as error:
            problems.append(str(error))
    states.look(jobs.values())
    for run, job in jobs.items():
        try:
            found.append(described(run, job, job and states.state(job)))
        except UserError as error:
            problems.append(str(error))
    return found, list(dict.fromkeys(problems))


def _print(found: list[dict[str, Any]], as_json: bool) -> None:
    if as_json or not found:
        for described in found:
            print(json.dumps(described))
        return
    rows = [COLUMNS, *(_row(described) for described in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def _row(described: dict[str, Any]) -> tuple[str, ...]:
    total = f" of {described['total_images']:,}" if described["total_images"] else ""
    checkpoint = "-" if described["checkpoint"] is None else (
        f"{described['checkpoint']:,}, {duration(described['checkpoint_age_seconds'])} ago")
    rate = "-" if described["images_per_second"] is None else f"{described['images_per_second']:,.0f}"
    left = "-" if described["seconds_left"] is None else duration(described["seconds_left"])
    state = described["state"] + (f" ({described['why']})" if described["why"] else "")
    return (described["run"], state, f"{described['images']:,}{total}", rate, left, checkpoint,
            str(described["restarts"]), described["nodes"] or "-")
