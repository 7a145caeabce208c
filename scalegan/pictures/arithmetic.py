"""The picture of latent arithmetic, laid out as figure 7 of Radford et al. (2016)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from scalegan.pictures.grids import enlarged, pixels_of, save_picture

_GAP, _HEAD, _LETTER = 2, 14, 6     # pixels between images, of a line of text, and of a letter's width
_SIDE = 3                           # images along a side of the result's block


def save_arithmetic(path: Path, samples: Sequence[Tensor], heads: Sequence[str], means: Tensor,
                    results: Tensor) -> None:
    """Saves a PNG: a column for each term with its samples and, below a line, the image of their mean latent; on the
    right, the result among its eight neighbours.

    Args:
        samples: of each term, images [n, C, H, W] in [-1, 1]; heads: what stands above each.
        means: [terms, C, H, W]; results: [9, C, H, W], the result first.
    """
    columns = [enlarged(pixels_of(one)) for one in samples]
    below, block = enlarged(pixels_of(means)), enlarged(pixels_of(results))
    height, width = block.shape[1] + _GAP, block.shape[2] + _GAP
    rows = max(len(column) for column in columns)
    second = _HEAD + rows * height + _HEAD                  # where the row of means begins
    left = len(columns) * width + _HEAD                     # where the result's block begins
    bottom = max(second + height, _HEAD + _SIDE * height)
    picture = Image.new("RGB", (left + _SIDE * width + _GAP, bottom + _GAP), "white")
    draw = ImageDraw.Draw(picture)

    def put(image: np.ndarray, x: int, y: int) -> None:
        picture.paste(Image.fromarray(np.broadcast_to(image, (*image.shape[:2], 3))), (x + _GAP, y + _GAP))

    for number, (column, head) in enumerate(zip(columns, heads)):
        draw.text((number * width + _GAP, 0), _fitted(head, width), fill="black")
        for row, image in enumerate(column):
            put(image, number * width, _HEAD + row * height)
        put(below[number], number * width, second)
    draw.text((_GAP, second - _HEAD), "means", fill="black")
    draw.text((left + _GAP, 0), "result, neighbours around", fill="black")
    middle = _SIDE * _SIDE // 2
    around = [*block[1 : 1 + middle], block[0], *block[1 + middle :]]
    for place, image in enumerate(around):
        put(image, left + place % _SIDE * width, _HEAD + place // _SIDE * height)
    save_picture(picture, path)


def _fitted(head: str, width: int) -> str:
    """As many of a head's seeds as there is room for."""
    most = width // _LETTER
    return head if len(head) <= most else f"{head[: most - 2].rpartition(',')[0]},..."
