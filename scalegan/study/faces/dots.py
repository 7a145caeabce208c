"""A chart of figures by name: a line for each name, and on it a dot for each method."""

import math
from collections.abc import Mapping
from pathlib import Path

from PIL import Image, ImageDraw

from scalegan.pictures.grids import save_picture

# Distinguishable with any type of colour vision (Okabe & Ito, 2008).
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#b0a000")
_LINE, _WIDTH, _LEFT, _MARGIN, _RADIUS = 14, 640, 130, 24, 4


def save_dots(path: Path, values: Mapping[str, Mapping[str, float]]) -> None:
    """Saves a PNG.

    Args:
        values: of each method, by name; the names in the order of the lines, the first method's first.
    """
    names = list(next(iter(values.values())))
    at = _ticks(max(max(of_method.values()) for of_method in values.values()))
    height = 2 * _MARGIN + _LINE * len(names)
    chart = Image.new("RGB", (_WIDTH, height), "white")
    draw = ImageDraw.Draw(chart)

    def across(value: float) -> float:
        return _LEFT + value / at[-1] * (_WIDTH - _LEFT - _MARGIN)

    for tick in at:
        draw.line((across(tick), _MARGIN, across(tick), height - _MARGIN), (225, 225, 225))
        draw.text((across(tick), height - _MARGIN + 4), f"{tick:.4g}", "black", anchor="mt")
    for place, name in enumerate(names):
        middle = _MARGIN + _LINE * (place + 0.5)
        draw.text((_LEFT - 8, middle), name, "black", anchor="rm")
        for number, of_method in enumerate(values.values()):
            x = across(of_method[name])
            draw.ellipse((x - _RADIUS, middle - _RADIUS, x + _RADIUS, middle + _RADIUS), _colour(number))
    left = _LEFT
    for number, method in enumerate(values):
        draw.ellipse((left, 8, left + 2 * _RADIUS, 8 + 2 * _RADIUS), _colour(number))
        draw.text((left + 4 * _RADIUS, 8 + _RADIUS), method, "black", anchor="lm")
        left += 8 * _RADIUS + draw.textlength(method)
    save_picture(chart, path)


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]


def _ticks(high: float, about: int = 5) -> list[float]:
    """About `about` evenly spaced round numbers, from 0 to at least `high`."""
    rough = (high if high > 0 else 1) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough * 0.999)
    return [i * step for i in range(math.ceil(high / step - 1e-9) + 1)] if high > 0 else [0.0, 1.0]
