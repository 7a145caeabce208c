"""Digits drawn from strokes with a thin pen: a simulation of handwriting whose labels are known."""

from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageDraw

from scalegan.support.keys import key_of

COUNT, SIDE = 400, 28           # digits of each class; pixels a side
_FINER = 4                      # drawn this much larger, then averaged
_Stroke = list[tuple[float, float]]


def drawn_digits() -> tuple[np.ndarray, np.ndarray]:
    """Digits, uint8 [4000, 28, 28], white on black, and their classes [4000], in turn from 0 to 9.

    A digit's width, height, slant, pen and position depend only on its class and its number within it.
    """
    digits = [draw(digit, number) for number in range(COUNT) for digit in range(10)]
    return np.stack(digits), np.tile(np.arange(10), COUNT)


def draw(digit: int, number: int) -> np.ndarray:
    """One digit, uint8 [28, 28], whose centre of mass is within half a pixel of the middle, as that of MNIST is."""
    random = np.random.Generator(np.random.Philox(key=key_of("drawn", digit, number)))
    width, height, slant, pen = random.uniform((8, 15, -0.1, 0.8), (15, 18.5, 0.4, 1.6))
    picture = Image.new("L", (SIDE * _FINER, SIDE * _FINER))
    canvas = ImageDraw.Draw(picture)
    for stroke in STROKES[digit]:
        points = (np.array(stroke) - 0.5) * (width, height)
        points[:, 0] -= slant * points[:, 1]
        canvas.line([tuple(point) for point in (points + SIDE / 2) * _FINER], 255, round(pen * _FINER), "curve")
    pixels = np.array(picture)
    aim = SIDE / 2 + random.uniform(-0.5, 0.5, 2)
    moved = np.rint(aim * _FINER - np.argwhere(pixels).mean(0)).astype(int)
    return np.array(Image.fromarray(np.roll(pixels, moved, (0, 1))).reduce(_FINER))


def _arc(x: float, y: float, across: float, down: float, first: float, last: float) -> _Stroke:
    """Part of an ellipse around (x, y), between two angles in degrees, clockwise from the right."""
    angles = np.radians(np.linspace(first, last, 24))
    return list(zip(x + across * np.cos(angles), y + down * np.sin(angles)))


def _strokes() -> Iterator[list[_Stroke]]:
    """Each digit in a square of side 1, y downwards."""
    yield [_arc(0.5, 0.5, 0.5, 0.5, 0, 360)]
    yield [[(0.5, 0), (0.5, 1)]]
    yield [[*_arc(0.5, 0.28, 0.45, 0.28, 190, 390), (0, 1), (1, 1)]]
    yield [[*_arc(0.45, 0.25, 0.42, 0.25, 200, 430), *_arc(0.45, 0.74, 0.5, 0.26, 280, 520)]]
    yield [[(0.4, 0), (0, 0.6), (1, 0.6)], [(0.75, 0.2), (0.75, 1)]]
    yield [[(0.9, 0), (0.2, 0), (0.1, 0.45), *_arc(0.45, 0.68, 0.5, 0.32, 240, 510)]]
    yield [[*_arc(0.9, 0.7, 0.9, 0.7, 260, 180), *_arc(0.47, 0.7, 0.47, 0.3, 180, 540)]]
    yield [[(0.1, 0), (0.9, 0), (0.4, 1)]]
    yield [_arc(0.5, 0.24, 0.4, 0.24, 0, 360), _arc(0.5, 0.74, 0.5, 0.26, 0, 360)]
    yield [[*_arc(0.47, 0.3, 0.47, 0.3, 0, 360), (0.9, 1)]]


STROKES = tuple(_strokes())
