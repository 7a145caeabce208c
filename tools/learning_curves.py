"""Plots runs against minutes of training, as an SVG: `python tools/learning_curves.py RUN ... --out FILE.svg`.

A figure is a key of metrics.jsonl, a sum of several keys joined by +, or a metric in evaluations.jsonl, such as kid,
which `scalegan evaluate RUN/checkpoints/IMAGES` writes. `--apart` gives each run its own column, for losses that mean
different things, and prints the Spearman rank correlation of each loss with the first figure: 1 if they fall together.
"""

import argparse
import sys
from collections.abc import Sequence
from html import escape
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np

from scalegan.pictures import charts
from scalegan.pictures.pages import Seen, names, read

WIDTH, HEIGHT, MARGIN, KEY = 380, 230, 8, 24
STYLE = """svg { background: #fff; } text { font: 11px system-ui, sans-serif; fill: #444; }
text.title { font-weight: 600; font-size: 12px; fill: #222; }
.end { text-anchor: end; } .middle { text-anchor: middle; }
.grid { stroke: #e6e6e6; } polyline { fill: none; stroke-width: 1.6; }"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--figures", nargs="+", default=["kid", "fd"], metavar="FIGURE", help="default: kid fd")
    parser.add_argument("--apart", action="store_true", help="plot each run in its own column")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="minutes of training to show (default all)")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.svg")
    options = parser.parse_args()
    runs = [read(path, name) for path, name in zip(options.runs, names(options.runs))]
    curves = [[curve(run, figure, options.minutes) for run in runs] for figure in options.figures]
    if options.apart:
        rows = [[charts.chart(f"{run.name}: {figure}", {number: one}, "minutes")
                 for number, (run, one) in enumerate(zip(runs, of_runs))]
                for figure, of_runs in zip(options.figures, curves)]
        for number, run in enumerate(runs):
            for figure, of_runs in zip(options.figures[1:], curves[1:]):
                print(f"{run.name}: {figure} against {options.figures[0]}: "
                      f"{together(curves[0][number], of_runs[number]):+.2f}")
    else:
        rows = [[charts.chart(figure, dict(enumerate(of_runs)), "minutes")
                 for figure, of_runs in zip(options.figures, curves)]]
    options.out.write_text(sheet(rows, [] if options.apart else [run.name for run in runs]), encoding="utf-8")
    print(options.out)
    return 0


def curve(run: Seen, figure: str, minutes: float) -> list[tuple[float, float]]:
    """A figure as (minutes, value), up to `minutes`; for a metric, the newest evaluation at each image count."""
    clock = sorted((row["images"], row["seconds"] / 60) for row in run.reports)
    known = {row["images"]: row["metrics"][figure] for row in run.evaluations if figure in row["metrics"]}
    if not known:
        keys = figure.split("+")
        known = {row["images"]: sum(row[key] for key in keys) for row in run.reports if all(key in row for key in keys)}
    if not known:
        raise SystemExit(f"{run.name} has no {figure} in metrics.jsonl or evaluations.jsonl; name another in --figures")
    last, until = clock[-1]
    newest = max(*known, last + 1)      # a stopped run has a checkpoint after its last report
    at = np.interp(sorted(known), *zip((0, 0), *clock, (newest, until * newest / last)))
    return [(float(x), known[images]) for x, images in zip(at, sorted(known)) if x <= minutes]


def together(quality: Sequence[tuple[float, float]], loss: Sequence[tuple[float, float]]) -> float:
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


def sheet(rows: Sequence[Sequence[str]], keyed: Sequence[str]) -> str:
    """One SVG with rows of charts; `keyed` names the runs in a legend above them."""
    top = KEY if keyed else 0
    width, height = max(map(len, rows)) * (WIDTH + MARGIN) + MARGIN, len(rows) * (HEIGHT + MARGIN) + MARGIN + top
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
             f'height="{height}"><style>{STYLE}</style><rect width="{width}" height="{height}" fill="#fff"/>']
    for number, name in enumerate(keyed):
        colour, dash = charts.style(number)
        x = 60 + 150 * number
        parts.append(f'<polyline points="{x},16 {x + 22},16" stroke="{colour}" stroke-dasharray="{dash}"/>'
                     f'<text x="{x + 28}" y="20">{escape(name)}</text>')
    for down, row in enumerate(rows):
        for across, chart in enumerate(row):
            place = f"{MARGIN + across * (WIDTH + MARGIN)} {MARGIN + top + down * (HEIGHT + MARGIN)}"
            parts.append(f'<g transform="translate({place})">{chart}</g>')
    return "".join([*parts, "</svg>\n"])


if __name__ == "__main__":
    sys.exit(main())
