"""The size of images as people write it: 64 for a square, 64x32 for 64 px across and 32 px down."""

import re
from collections.abc import Collection

Resolution = int | str      # a square's side, or 'WIDTHxHEIGHT' of other images

_BASE = 4                   # px of a network's smallest feature map, along the shorter side
_MOST_SIDE, _MOST_PIXELS = 1 << 16, 1 << 28
_FORM = "write a square's side, such as 256, or WIDTHxHEIGHT, such as 256x128, in whole pixels"


def parse(given: object) -> Resolution:
    """A size as it is stored: the side of a square as a number, anything else as text.

    Raises:
        ValueError: if it is not a size, or a side is 0 or too large.
    """
    match = None if isinstance(given, bool) else re.fullmatch("([0-9]{1,19})(?:x([0-9]{1,19}))?", _text(given))
    if match is None:
        raise ValueError(f"not a size; {_FORM}")
    width, height = int(match[1]), int(match[2] or match[1])
    if not (width and height):
        raise ValueError(f"a side has 0 px; {_FORM}")
    if max(width, height) > _MOST_SIDE or width * height > _MOST_PIXELS:
        raise ValueError("too large: sides have at most 65,536 px, and images 2^28; use a smaller size")
    return of_sides(height, width)


def of_sides(height: int, width: int) -> Resolution:
    """The size of images with those sides in pixels."""
    return height if height == width else f"{width}x{height}"


def sides_of(resolution: Resolution) -> tuple[int, int]:
    """Height and width in pixels of a size that `parse` returned."""
    width, _, height = str(resolution).partition("x")
    return int(height or width), int(width)


def base_of(height: int, width: int) -> tuple[int, int]:
    """Height and width of the feature map from which images are doubled, whose shorter side has 4 px.

    Raises:
        ValueError: if the longer side is not a multiple of a quarter of the shorter one.
    """
    shorter = min(height, width)
    if any(side * _BASE % shorter for side in (height, width)):
        raise ValueError(f"images of {width} x {height} px are no whole number of 4 px doubled to {shorter}; the "
                         f"longer side must be a multiple of {max(shorter // _BASE, 1)}")
    return height * _BASE // shorter, width * _BASE // shorter


def fits(resolution: Resolution, shorter: Collection[int]) -> bool:
    """Whether networks make images of that size that double 4 px to one of the `shorter` sides."""
    low, high = sorted(sides_of(resolution))
    return low in shorter and high * _BASE % low == 0


def nearest(resolution: Resolution, shorter: Collection[int]) -> list[Resolution]:
    """The two sizes that fit and differ least in their sides, for one that does not."""
    sides = sides_of(resolution)
    low, high = sorted(sides)
    found = {(side, max(side, high // step * step + more)) for side in shorter
             for step in [max(side // _BASE, 1)] for more in (0, step)}
    best = sorted(found, key=lambda pair: (abs(pair[0] - low) + abs(pair[1] - high), pair))[:2]
    return [of_sides(*(pair if sides[0] <= sides[1] else pair[::-1])) for pair in sorted(best)]


def _text(given: object) -> str:
    return str(int(given)) if isinstance(given, float) and given.is_integer() else str(given)
