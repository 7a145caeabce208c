"""What a run answers to a photo of a face."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from scalegan.faces.identity import Embedding
from scalegan.faces.models import FaceModel
from scalegan.faces.squares import Squares, images_of
from scalegan.games.stargan.labels import with_values
from scalegan.pictures.grids import pixels_of
from scalegan.pictures.photos import Photo

_DIGITS = 4
_SEVERAL = "more than one face was found; the largest was taken"


class Answer(NamedTuple):
    """Pictures uint8 [R, R, C] by what they are, the photo's own square first and the result last; figures, as JSON;
    and what users should know about the photo."""

    pictures: dict[str, np.ndarray]
    figures: dict[str, Any]
    remarks: list[str]

    @property
    def result(self) -> np.ndarray:
        return list(self.pictures.values())[-1]


def recognised(model: FaceModel, squares: Squares, photo: Photo) -> Answer:
    """The probability of each attribute. Raises ValueError if there is no face."""
    square, remarks = _square(squares, photo)
    chances = model.recognised(images_of([square]))[0].tolist()
    return Answer({"photo": square}, {"attributes": {name: round(chance, _DIGITS)
                                                     for name, chance in zip(model.names, chances)}}, remarks)


def changed(model: FaceModel, squares: Squares, values: Mapping[str, float], embedding: Embedding | None,
            photo: Photo) -> Answer:
    """The face rebuilt and, if there are values, with some attributes, between 0 and 1, besides its own; a hair colour
    that is set clears the others. With an embedding also how far the result is from the photo. Raises ValueError if
    there is no face."""
    square, remarks = _square(squares, photo)
    image = images_of([square])
    own = model.rebuilding(model.recognised(image))
    pictures, figures = {"photo": square, "rebuilt": _made(model, image, own)}, {}
    if values:
        pictures["transformed"] = _made(model, image, with_values(own, model.names, values))
        figures["set"] = dict(values)
    if embedding:
        pair = torch.from_numpy(np.stack([square, list(pictures.values())[-1]])).movedim(3, 1)
        before, after = embedding(pair, squares.landmarks)
        figures["identity"] = {"distance": round((before - after).norm().item(), _DIGITS), **embedding.identity}
    return Answer(pictures, figures, remarks)


def _square(squares: Squares, photo: Photo) -> tuple[np.ndarray, list[str]]:
    square, faces = squares(photo)
    return square, [_SEVERAL] if faces > 1 else []


def _made(model: FaceModel, image: Tensor, attributes: Tensor) -> np.ndarray:
    return pixels_of(model.changed(image, attributes))[0]
