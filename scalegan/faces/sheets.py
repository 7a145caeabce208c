"""Pictures of faces: what a run sees in each, and originals beside results."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from scalegan.faces.squares import images_of
from scalegan.pictures import grids

_SIDE = 128                 # px that small faces are enlarged to at least
_TEXT, _LINE = 170, 12      # px: width of the text beside a face, and height of its lines
_GAP = 8


def save_recognised(path: Path, squares: Sequence[np.ndarray], chances: Sequence[Mapping[str, float]]) -> None:
    """Saves a PNG of faces, uint8 [R, R, C], each beside the attributes that are more probable than not, the most
    probable first, as many as fit."""
    faces = _enlarged(np.stack(squares))
    height, width = faces.shape[1] + _GAP, faces.shape[2] + _TEXT + _GAP
    columns = max(1, round((len(faces) * height / width) ** 0.5))
    picture = Image.new("RGB", (columns * width, -(-len(faces) // columns) * height), "white")
    draw = ImageDraw.Draw(picture)
    for number, (face, chance) in enumerate(zip(faces, chances)):
        left, top = number % columns * width, number // columns * height
        picture.paste(Image.fromarray(face if face.shape[2] == 3 else face[..., 0]), (left, top))
        seen = sorted((name for name, value in chance.items() if value > 0.5), key=chance.get, reverse=True)
        lines = [f"{chance[name]:.2f} {name}" for name in seen[: faces.shape[1] // _LINE]]
        draw.multiline_text((left + faces.shape[2] + _GAP, top), "\n".join(lines), fill="black", spacing=0)
    grids.save_picture(picture, path)


def save_beside(path: Path, columns: Mapping[str, Sequence[np.ndarray]]) -> None:
    """Saves a PNG with a named column for each kind of pictures, uint8 [R, R, C]; a row is a face."""
    grids.save_columns(path, {name: images_of(_enlarged(np.stack(squares))) for name, squares in columns.items()})


def most_shown(side: int, columns: int) -> int:
    """How many faces make a picture of moderate size, with several columns for each."""
    side *= _factor(side)
    return max(1, grids.fitting(1 << 30, columns, side, side)[0] // columns)


def _factor(side: int) -> int:
    return -(-_SIDE // side)


def _enlarged(faces: np.ndarray) -> np.ndarray:
    """uint8 [n, R, R, C] by a whole factor."""
    return faces.repeat(_factor(faces.shape[1]), 1).repeat(_factor(faces.shape[2]), 2)
