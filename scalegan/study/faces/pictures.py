"""The pictures of the questions: photos, and beside them what the models make of them."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from scalegan.faces.sheets import save_beside

SHOWN = 8       # photos in a picture


def save(path: Path, columns: Mapping[str, Tensor]) -> None:
    """Saves columns of images, uint8 [n, 3, H, W], by name."""
    save_beside(path, {name: images.movedim(1, 3).numpy() for name, images in columns.items()})
