"""The pictures of the questions: photos, and beside them what the models make of them."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from scalegan.data.pixels import from_uint8
from scalegan.pictures.grids import save_columns

SHOWN = 8       # photos in a picture


def save(path: Path, columns: Mapping[str, Tensor]) -> None:
    """Saves columns of images, uint8 [n, 3, H, W], by name."""
    save_columns(path, {name: from_uint8(images) for name, images in columns.items()})
