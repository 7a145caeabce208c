"""Plots runs against minutes of training, as an SVG: `python tools/learning_curves.py RUN ... --out FILE.svg`.

A figure is a key of metrics.jsonl, a sum of several keys joined by +, or a metric in evaluations.jsonl, such as kid,
which `scalegan evaluate RUN/checkpoints/IMAGES` writes. `--apart` gives each run its own column, for losses that mean
different things, and prints the Spearman rank correlation of each loss with the first figure: 1 if they fall together.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np

from scalegan.cli import run_verb
from scalegan.metrics import results
from scalegan.monitor.run import names
from scalegan.support.reading import read_json_lines

Curve = list[tuple[float, float]]


@dataclass(frozen=True)
class Seen:
    """A run's name, reports and evaluations."""

    name: str
    reports: list[dict[str, float]]
    evaluations: list[dict]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--figures", nargs="+", default=["kid", "fd"], metavar="FIGURE", help="default: kid fd")
    parser.add_argument("--apart", action="store_true", help="plot each run in its own column")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="minutes of training to show (default all)")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.svg")
    options = parser.parse_args(arguments)
    runs = [Seen(name, read_json_lines(path / "metrics.jsonl"), results.read(path))
            for path, name in zip(options.runs, names(options.runs))]
    curves = [[curve(run, figure, options.minutes) for run in runs] for figure in options.figures]
    if options.apart:
        draw([[(f"{run.name}: {figure}", {number: one}) for number, (run, one) in enumerate(zip(runs, of_runs))]
              for figure, of_runs in zip(options.figures, curves)], [], options.out)
        for number, run in enumerate(runs):
            for figure, of_runs in zip(options.figures[1:], curves[1:]):
                print(f"{run.name}: {figure} against {options.figures[0]}: "
                      f"{together(curves[0][number], of_runs[number]):+.2f}")
    else:
        draw([[(figure, dict(enumerate(of_runs))) for figure, of_runs in zip(options.figures, curves)]],
             [run.name for run in runs], options.out)
    print(options.out)
    return 0


def curve(run: Seen, figure: str, minutes: float) -> Curve:
    """A figure as (minutes, value), up to `minutes`; for a metric, the newest evaluation at each image count."""
    clock = sorted((row["images"], row["seconds"] / 60) for row in run.reports)
    known = {row["images"]: row["metrics"][figure] for row in run.evaluations
             if figure in row["metrics"] and not results.drawn_with(row)}
    if not known:
        keys = figure.split("+")
        known = {row["images"]: sum(row[key] for key in keys) for row in run.reports if all(key in row for key in keys)}
    if not known:
        raise SystemExit(f"{run.name} has no {figure} in metrics.jsonl or evaluations.jsonl; name another in --figures")
    last, until = clock[-1]
    newest = max(*known, last + 1)      # a stopped run has a checkpoint after its last report
    at = np.interp(sorted(known), *zip((0, 0), *clock, (newest, until * newest / last)))
    return [(float(x), known[images]) for x, images in zip(at, sorted(known)) if x <= minutes]


def together(quality: Curve, loss: Curve) -> float:
    """Spearman's rank correlation between a figure at each evaluation and the mean loss since the previous one."""
    means, before = [], -1.0
    for x, _ in quality:
        means.append(np.mean([value for at, value in loss if before < at <= x] or [np.nan]))
        before = x
    pairs = [(q, m) for (_, q), m in zip(quality, means) if np.isfinite(m)]
    if len(pairs) < 3:
        return float("nan")
    ranks = np.argsort(np.argsort(np.array(pairs), axis=0), axis=0)
    return float(np.corrcoef(ranks.T)[0, 1])


def draw(rows: Sequence[Sequence[tuple[str, dict[int, Curve]]]], keyed: Sequence[str], out: Path) -> None:
    """Rows of charts: each a title, and curves of (minutes, value) by the number of their run; `keyed` names runs."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.fonttype": "none", "font.size": 8, "font.family": "sans-serif"})
    from matplotlib import pyplot

    width = max(map(len, rows))
    sheet, axes = pyplot.subplots(len(rows), width, figsize=(4 * width, 2.5 * len(rows)), squeeze=False,
                                  layout="constrained")
    for place, (title, curves) in zip(axes.flat, (chart for row in rows for chart in row)):
        place.set_title(title, fontweight="bold")
        place.set_xlabel("minutes")
        place.grid(alpha=0.3)
        for number, points in curves.items():
            label = keyed[number] if keyed else None
            place.plot(*zip(*points), color=f"C{number}", marker="o" if len(points) == 1 else None, label=label)
    if keyed:
        axes.flat[0].legend()
    sheet.savefig(out, format="svg", metadata={"Date": None})


if __name__ == "__main__":
    sys.exit(run_verb(main, sys.argv[1:]))
