"""Compares objectives on 2-D toys: modes covered, share of good samples, reverse KL, and a picture of all samples.

Several seeds are trained as one batched model, one process per core. The same seeds give the same table, whatever else
is requested.
"""

import os
from pathlib import Path

from scalegan.errors import UsageError
from scalegan.study.settings import OBJECTIVES, SETTINGS
from scalegan.support.arguments import folder, positive, seeds, verb_parser
from scalegan.support.names import did_you_mean


def main(arguments: list[str]) -> int:
    parser = verb_parser("study", __doc__,
                         "study toy --out toy",
                         "study toy --objectives wgan_gp,hinge --data ring8 --seeds 0-4")
    parser.add_argument("name", metavar="STUDY", choices=["toy"], help="which study: toy")
    parser.add_argument("--objectives", default=",".join(OBJECTIVES), help="some of (default: all) %(default)s")
    parser.add_argument("--data", default=",".join(SETTINGS), help="some of (default: all) %(default)s")
    parser.add_argument("--seeds", type=seeds, default=seeds("0-4"), help="such as 0-4 or 1,5 (default 0-4)")
    parser.add_argument("--out", type=folder, default=Path("studies/toy"), help="folder to write into")
    parser.add_argument("--workers", type=positive, default=os.cpu_count() or 1,
                        help="processes (default: one per core)")
    parser.add_argument("--updates", type=positive,
                        help="updates of G, instead of each dataset's own, for a quick look")
    options = parser.parse_args(arguments)
    objectives = _chosen("--objectives", options.objectives, OBJECTIVES)
    data = _chosen("--data", options.data, SETTINGS)

    from scalegan.study import report
    from scalegan.study.toy import study

    options.out.mkdir(parents=True, exist_ok=True)
    rows, samples = study(objectives, data, list(dict.fromkeys(options.seeds)), options.workers, options.updates)
    report.write(options.out, rows, samples)
    print((options.out / "table.md").read_text())
    print((options.out / "picture.png").resolve())
    return 0


def _chosen(option: str, text: str, known: dict) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in known:
            raise UsageError(f"{option}: there is no '{name}'"
                              + (did_you_mean(name, known) or f"; use one of {', '.join(known)}"))
    return list(dict.fromkeys(names))
