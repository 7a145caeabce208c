"""Curves as hand-written SVG, so that a page with them needs no other files."""

import math
from collections.abc import Mapping, Sequence
from html import escape

Curve = Sequence[tuple[float, float]]

# Distinguishable with any type of colour vision (Okabe & Ito, 2008).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#b0a000")
_DASHES = ("", "6 3", "2 2", "8 2 2 2")
_WIDTH, _HEIGHT = 380, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 12, 26, 34
_POINTS = 500


def style(number: int) -> tuple[str, str]:
    """(colour, dash pattern) of curve `number`; the first 32 are all different."""
    return COLOURS[number % len(COLOURS)], _DASHES[number // len(COLOURS) % len(_DASHES)]


def chart(title: str, curves: Mapping[int, Curve], axis: str = "images") -> str:
    """An <svg> of curves of (x, value), by their number for `style`; values that are not finite are left out. The x
    axis is labelled `axis` and starts at 0."""
    thinned = {number: thin([(x, y) for x, y in curve if math.isfinite(y)]) for number, curve in curves.items()}
    points = [point for curve in thinned.values() for point in curve]
    frame = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" role="img">',
             f'<text class="title" x="{_LEFT}" y="16">{escape(title)}</text>']
    if not points:
        return "".join([*frame, f'<text x="{_LEFT}" y="{_HEIGHT / 2}">no finite value</text></svg>'])
    x_ticks, y_ticks = ticks(0, max(x for x, _ in points)), ticks(min(y for _, y in points), max(y for _, y in points))
    (x0, x1), (y0, y1) = (x_ticks[0], x_ticks[-1]), (y_ticks[0], y_ticks[-1])

    def across(x: float) -> float:
        return _LEFT + (x - x0) / (x1 - x0) * (_WIDTH - _LEFT - _RIGHT)

    def down(y: float) -> float:
        return _TOP + (y1 - y) / (y1 - y0) * (_HEIGHT - _TOP - _BOTTOM)

    for y in y_ticks:
        frame.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{down(y):.1f}" y2="{down(y):.1f}"/>'
                     f'<text class="end" x="{_LEFT - 6}" y="{down(y) + 4:.1f}">{short(y)}</text>')
    for x in x_ticks:
        frame.append(f'<line class="grid" x1="{across(x):.1f}" x2="{across(x):.1f}" y1="{_TOP}" '
                     f'y2="{_HEIGHT - _BOTTOM}"/><text class="middle" x="{across(x):.1f}" '
                     f'y="{_HEIGHT - _BOTTOM + 16}">{short(x)}</text>')
    frame.append(f'<text class="middle" x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 4}">{escape(axis)}</text>')
    for number, curve in thinned.items():
        colour, dash = style(number)
        path = " ".join(f"{across(x):.1f},{down(y):.1f}" for x, y in curve)
        if len(curve) == 1:
            frame.append(f'<circle cx="{across(curve[0][0]):.1f}" cy="{down(curve[0][1]):.1f}" r="3" fill="{colour}"/>')
        frame.append(f'<polyline points="{path}" stroke="{colour}" stroke-dasharray="{dash}"/>')
    return "".join([*frame, "</svg>"])


def thin(curve: Curve) -> Curve:
    """Thins a curve to about 500 points, each the mean of neighbours; the last point stays as it is."""
    every = -(-len(curve) // _POINTS)
    if every <= 1:
        return curve
    groups = [curve[i : i + every] for i in range(0, len(curve) - 1, every)]
    return [*((sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups), curve[-1]]


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """About `about` evenly spaced round numbers, from at most `low` to at least `high`."""
    if high <= low:
        low, high = low - (abs(low) or 1) / 10, high + (abs(high) or 1) / 10
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, last + 1)]


def short(value: float) -> str:
    """1500000 as 1.5M, 0.00012 as 1.2e-4, 64000 as 64k."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{letter}"
    if value and abs(value) < 1e-3:
        return f"{value:.2e}".replace("e-0", "e-")
    return f"{value:.4g}"
