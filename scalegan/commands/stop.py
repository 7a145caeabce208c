"""Stops a run gracefully: asks it to save, waits until it has, and cancels its job.

Works for SLURM jobs and for runs on this machine. The same command, or a new submission, resumes from what was saved.
"""

from pathlib import Path

from scalegan.cluster.status import named_runs
from scalegan.cluster.stopping import stop
from scalegan.errors import UserError
from scalegan.support.arguments import finite, report, verb_parser


def main(arguments: list[str]) -> int:
    parser = verb_parser("stop", __doc__,
                         "stop /shared/runs/bedroom",
                         "stop /shared/runs/sweep --timeout 600")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run folder, or a folder of runs")
    parser.add_argument("--timeout", "--patience", type=finite, default=120, metavar="SECONDS",
                        help="how long to wait for the save before cancelling the job (default 120)")
    options = parser.parse_args(arguments)
    runs, problems = named_runs(options.runs)
    for run in runs:
        try:
            print(f"{run}: {stop(run, options.timeout)}", flush=True)
        except UserError as error:
            problems.append(str(error))
    return report(problems)
