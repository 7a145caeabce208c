"""Letters of many fonts as solids: thin or thick, upright or slanted, wide or narrow."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFont

from scalegan.data.voxels import bodies
from scalegan.support.keys import key_of

LETTERS = "ABCDEFGHIJ"          # as in notMNIST
VARIANTS = 20
#: A fifth of them, every fifth one, is held out of the letters to train with.
FACES = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSansMono", "DejaVuSerif", "DejaVuSerif-Bold",
         "STIXGeneral", "STIXGeneralBol", "DejaVuSans-Oblique", "cmr10", "DejaVuSansMono-Bold",
         "cmss10", "DejaVuSerif-Italic", "DejaVuSans-BoldOblique", "STIXGeneralItalic", "cmb10",
         "DejaVuSansMono-Oblique", "cmtt10", "DejaVuSerif-BoldItalic", "DejaVuSansMono-BoldOblique",
         "STIXGeneralBolIta")
_PIXELS = 256                   # font size of the outline that is fitted into the grid
_FINER = 4                      # drawn this much larger than the grid, then averaged
_COVERED = (0.3, 0.2, 0.1, 0.05)


def letters(side: int) -> Iterator[tuple[np.ndarray, int]]:
    """4,000 solids, uint8 [1, side, side, side], 0 or 255, and their classes: the ten letters in turn, of each face in
    turn. A solid depends only on its letter, face and variant. Its first axis points away from the viewer, the second
    down, the third to the right.

    Raises:
        ImportError: without Matplotlib, whose fonts they are.
    """
    fonts = _fonts()
    of_variant = [(face, number) for face in FACES for number in range(len(LETTERS))]
    for variant in range(VARIANTS):
        shapes = [_Shape.of(face, LETTERS[number], variant) for face, number in of_variant]
        covered = np.stack([shape.drawn(fonts, side) for shape in shapes])
        for shape, plate, (_, number) in zip(shapes, _unbroken(covered), of_variant):
            yield shape.extruded(plate), number


class _Shape(NamedTuple):
    """A letter's font and form.

    Args:
        height: share of the grid's side that its height takes, and its width at most.
        stretch: its width, relative to that of the font.
        slant: how far its top leans to the right, relative to its height.
        depth: its thickness, as a share of the grid's side.
    """

    face: str
    letter: str
    height: float
    stretch: float
    slant: float
    depth: float

    @classmethod
    def of(cls, face: str, letter: str, variant: int) -> "_Shape":
        random = np.random.Generator(np.random.Philox(key=key_of("glyph", face, letter, variant)))
        return cls(face, letter, *random.uniform((0.7, 0.8, -0.15, 0.15), (0.95, 1.2, 0.15, 0.5)))

    def drawn(self, fonts: Path, side: int) -> np.ndarray:
        """How much of each square of a grid its silhouette covers, from 0 to 1 [side, side]."""
        outline = _outline(fonts / f"{self.face}.ttf", self.letter)
        size, middle = side * _FINER, side * _FINER / 2
        down = outline.height / (self.height * size)
        across = down / self.stretch
        widest = outline.width / across + abs(self.slant) * self.height * size
        across *= max(1.0, widest / (0.95 * size))
        shear = self.slant * across
        frame = (across, shear, outline.width / 2 - (across + shear) * middle,
                 0, down, outline.height / 2 - down * middle)
        return np.array(outline.transform((size, size), Image.Transform.AFFINE, frame,
                                          Image.Resampling.BILINEAR).reduce(_FINER)) / 255

    def extruded(self, plate: np.ndarray) -> np.ndarray:
        """The solid, uint8 [1, side, side, side], in the middle of its grid."""
        side = len(plate)
        thickness = max(2, round(self.depth * side))
        first = (side - thickness) // 2
        grid = np.zeros((1, side, side, side), np.uint8)
        grid[0, first : first + thickness] = 255 * plate
        return grid


def _fonts() -> Path:
    """The folder of the fonts that come with Matplotlib."""
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf"


@cache
def _outline(font: Path, letter: str) -> Image.Image:
    """A letter in white on black, without margins."""
    mask = ImageFont.truetype(str(font), _PIXELS, layout_engine=ImageFont.Layout.BASIC).getmask(letter)
    picture = Image.frombytes("L", mask.size, bytes(mask))
    return picture.crop(picture.getbbox())


def _unbroken(covered: np.ndarray) -> np.ndarray:
    """Silhouettes, bool [n, side, side], of shares [n, side, side]: squares are filled from the largest share on that
    leaves a letter in one piece, as hairlines are thinner than a square."""
    plates = covered >= _COVERED[0]
    for share in _COVERED[1:]:
        broken = bodies(plates[:, None]) != 1
        plates[broken] = covered[broken] >= share
    return plates
