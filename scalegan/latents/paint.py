"""What a user painted over an image: strokes in a JSON file, or a picture that is transparent elsewhere."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NotRequired

import numpy as np
import torch
from PIL import Image
from pydantic import ConfigDict, Field
from torch import Tensor
from typing_extensions import TypedDict

from scalegan.data.derived import grey
from scalegan.data.pixels import from_levels
from scalegan.errors import UserError
from scalegan.pictures import photos
from scalegan.support.reading import DamagedFile, read_bytes, read_json

EXAMPLE = '{"strokes": [{"points": [[0.3, 0.2], [0.7, 0.2]], "width": 0.1, "colour": [200, 60, 40]}]}'
_THINNEST = 0.5**0.5        # radius in pixels that covers the centre of one, wherever it lies

_Share = Annotated[float, Field(strict=True, ge=0, le=1)]
_Level = Annotated[int, Field(strict=True, ge=0, le=255)]


class _Line(TypedDict):
    """Points (x, y) from the top left, and a width, in sides of the image."""

    __pydantic_config__ = ConfigDict(extra="forbid")
    points: Annotated[list[tuple[_Share, _Share]], Field(min_length=1, max_length=1000)]
    width: Annotated[float, Field(strict=True, gt=0, le=2)]


class _Stroke(_Line):
    """A line in a colour: red, green and blue."""

    __pydantic_config__ = ConfigDict(extra="forbid")
    colour: tuple[_Level, _Level, _Level]


class _Strokes(TypedDict):
    """The contents of a file of strokes. Later strokes cover earlier ones; lines of `keep` cover none."""

    __pydantic_config__ = ConfigDict(extra="forbid")
    strokes: Annotated[list[_Stroke], Field(min_length=1, max_length=1000)]
    keep: NotRequired[Annotated[list[_Line], Field(max_length=1000)]]


@dataclass(frozen=True)
class Paint:
    """Painted colours.

    Args:
        colours: [1, C, H, W] in [-1, 1].
        area: where they count, bool [H, W]; somewhere at least.
        free: where the image may change, bool [H, W]; all of `area`, and more.
    """

    colours: Tensor
    area: Tensor
    free: Tensor

    def on(self, images: Tensor) -> Tensor:
        """Images [N, C, H, W] with the paint on them."""
        return torch.where(self.area, self.colours, images)

    def to(self, device: torch.device) -> "Paint":
        return Paint(self.colours.to(device), self.area.to(device), self.free.to(device))


def read(path: Path, shape: tuple[int, int, int]) -> Paint:
    """The paint of a .json or picture file for images of a shape (C, H, W).

    Raises:
        UserError: if there is no such file, it is neither, or nothing is painted.
    """
    channels, height, width = shape
    try:
        pixels, area, free = (_strokes if path.suffix.lower() == ".json" else _mask)(path, height, width)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    if not area.any():
        raise UserError(f"{path} paints nothing; give it strokes outside what it keeps, or pixels that are not "
                        "transparent")
    colours = from_levels(torch.from_numpy(pixels).permute(2, 0, 1)[None])
    return Paint(grey(colours) if channels == 1 else colours, torch.from_numpy(area), torch.from_numpy(free))


def _strokes(path: Path, height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Colours, uint8 [H, W, 3], the painted area, and what may change: all but what `keep` covers, bool [H, W]."""
    try:
        found = read_json(path, _Strokes)
    except DamagedFile as error:
        raise UserError(f"{error}; write, for example, {EXAMPLE}") from error
    pixels = np.zeros((height, width, 3), np.uint8)
    area, kept = np.zeros((2, height, width), bool)
    for stroke in found["strokes"]:
        covered = _covered(stroke, height, width)
        pixels[covered], area = stroke["colour"], area | covered
    for line in found.get("keep", []):
        kept |= _covered(line, height, width)
    return pixels, area & ~kept, ~kept


def _covered(line: _Line, height: int, width: int) -> np.ndarray:
    """Pixels whose centre is at most half the width from the line, bool [H, W]; at least those that it begins in."""
    rows, columns = np.mgrid[0:height, 0:width]
    corners = np.array(line["points"], np.float64) * (width, height)
    radius = max(line["width"] * max(height, width) / 2, _THINNEST)
    covered = np.zeros((height, width), bool)
    for (x, y), (across, down) in zip(corners, np.diff(corners, axis=0, append=corners[-1:])):
        to_x, to_y = columns + 0.5 - x, rows + 0.5 - y
        share = np.clip((to_x * across + to_y * down) / max(across**2 + down**2, 1e-12), 0, 1)
        covered |= np.hypot(to_x - share * across, to_y - share * down) <= radius
    return covered


def _mask(path: Path, height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same from a picture at any multiple or fraction of the image's size; only what is painted may change."""
    try:
        photo = photos.read(read_bytes(path))
    except ValueError as error:
        raise UserError(f"{path} is neither a .json file of strokes nor a picture ({error})") from error
    if photo.alpha is None:
        raise UserError(f"{path} is not transparent anywhere, so that all of the image would be painted over; erase "
                        "what is to stay, and save it as a PNG with transparency")
    found = photo.alpha.shape
    if found[0] * width != found[1] * height:
        raise UserError(f"{path} is {found[1]} x {found[0]} px, and images are {width} x {height}; paint on a sample "
                        "of the run, or on a picture of its proportions")
    picture = Image.fromarray(np.dstack([photo.pixels.repeat(3 // photo.pixels.shape[2], 2), photo.alpha]))
    if found != (height, width):
        picture = picture.resize((width, height), Image.Resampling.BOX)     # weighs colours by their opacity
    pixels = np.array(picture)
    area = pixels[..., 3] > 0
    return pixels[..., :3], area, area
