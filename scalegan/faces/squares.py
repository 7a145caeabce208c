"""The square of a photo that a run sees: the face as CelebA's images have it, cut as the run's images were."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from scalegan.data.manifest import Manifest
from scalegan.data.picture import crop, resize
from scalegan.data.pixels import from_levels
from scalegan.errors import UserError
from scalegan.faces.alignment import LANDMARKS, SIZE, aligned
from scalegan.pictures.photos import Photo

if TYPE_CHECKING:
    from scalegan.faces.detection import Face

CROPS = ("center", "celeba178", "celeba108")
_FILTER = "lanczos"         # that of `scalegan prepare`


def crop_of(about: Mapping[str, Any]) -> str:
    """How the images of a run were cut: as the manifest of its data says, if it is still where the run found it and the
    same; else "center", which for CelebA's images is the same as "celeba178"."""
    data = about["recipe"]["data"]
    try:
        manifest = Manifest.load(Path(data["path"]))
    except UserError:
        return CROPS[0]
    same = manifest.content == data.get("content") and manifest.image.crop in CROPS
    return manifest.image.crop if same else CROPS[0]


class Squares:
    """Cuts squares from photos.

    Args:
        shape: C, R and R of the run's images.
        how: one of `CROPS`.
        detect: finds faces; None for photos that are faces already.
    """

    def __init__(self, shape: Sequence[int], how: str,
                 detect: "Callable[[np.ndarray], list[Face]] | None") -> None:
        if shape[1] != shape[2]:
            raise UserError(f"the run's images are {shape[2]} x {shape[1]} px, and faces are cut as squares; use a "
                            "run of square images")
        (self.channels, self.side, _), self.how, self.detect = shape, how, detect

    @property
    def landmarks(self) -> np.ndarray:
        """Where a face in CelebA's frame has its landmarks in a square, [5, 2], x and y in px."""
        places = crop(np.moveaxis(np.indices(SIZE), 0, 2), self.how)
        return (LANDMARKS - places[0, 0, ::-1]) * self.side / len(places)

    def __call__(self, photo: Photo) -> tuple[np.ndarray, int]:
        """The square uint8 [R, R, C] of the photo's largest face, and the number of faces, which is 1 without
        detection.

        Raises:
            ValueError: if there is no face.
        """
        pixels, faces = on_white(photo), 1
        if self.detect is not None:
            found = self.detect(pixels)
            if not found:
                raise ValueError("no face was found; if it shows one, cut it out and add --aligned")
            largest = max(found, key=lambda face: _in_view(face, pixels))
            pixels, faces = aligned(pixels, largest.landmarks), len(found)
        how = self.how if pixels.shape[:2] == SIZE else "center"
        return resize(crop(pixels, how), self.side, self.channels, _FILTER), faces


def _in_view(face: "Face", pixels: np.ndarray) -> float:
    """The area of a face, without what lies beyond the photo's edges."""
    left, top, right, bottom = face.box
    height, width = pixels.shape[:2]
    return (min(right, width) - max(left, 0)) * (min(bottom, height) - max(top, 0))


def on_white(photo: Photo) -> np.ndarray:
    """A photo's pixels, on white where it is transparent, as in prepared sets; uint8 [H, W, 3 or 1]."""
    if photo.alpha is None:
        return photo.pixels
    picture = Image.fromarray(photo.pixels if photo.pixels.shape[2] == 3 else photo.pixels[..., 0])
    opaque = Image.composite(picture, Image.new(picture.mode, picture.size, "white"), Image.fromarray(photo.alpha))
    return np.array(opaque).reshape(photo.pixels.shape)


def images_of(squares: Sequence[np.ndarray]) -> Tensor:
    """Squares uint8 [R, R, C] as images [n, C, R, R] in [-1, 1]."""
    return from_levels(torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2))
