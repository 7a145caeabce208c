"""Compares runs on one self-contained HTML page, that of `scalegan monitor`: their curves over images seen, samples,
recipes, evaluations, and what went wrong.

Evaluations are shown side by side only if extractor, resize, data and numbers of samples are the same: those that most
of the runs share.
"""

import sys
from pathlib import Path

from scalegan.cluster.status import without_jobs
from scalegan.errors import UserError
from scalegan.monitor.comparison import comparable
from scalegan.monitor.page import whole
from scalegan.monitor.run import Run, names
from scalegan.support.arguments import file_named, report, verb_parser


def main(arguments: list[str]) -> int:
    parser = verb_parser("compare", __doc__,
                         "compare runs/dcgan runs/r3gan",
                         "compare runs/lr=* --out learning_rates.html")
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run folder")
    parser.add_argument("--out", type=file_named("--out", ".html", ".htm"), default=Path("compare.html"),
                        help="page to write (default: compare.html)")
    options = parser.parse_args(arguments)
    runs, problems = [], []
    paths = without_jobs(options.runs)
    for path, name in zip(paths, names(paths)):
        run = Run(path, name)
        try:
            run.checked_recipe()
            runs.append(run)
        except UserError as error:
            problems.append(str(error))
    if not runs:
        report(problems[1:])
        raise UserError(problems[0])
    for line in comparable(runs)[1].values():
        print(f"not side by side: {line}", file=sys.stderr)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(whole(", ".join(run.name for run in runs), runs), encoding="utf-8")
    print(options.out.resolve())
    return report(problems)
