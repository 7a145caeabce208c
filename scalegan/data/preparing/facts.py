"""What `recipe=auto` asks of a set before it chooses: how many images, how large, with which labels."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np

from scalegan.config.auto import Images
from scalegan.data.arrays import NPY, read_npy
from scalegan.data.manifest import LabelSchema, load_set
from scalegan.data.picture import open_picture
from scalegan.data.preparing.sources import USUAL, guess_kind, open_source
from scalegan.data.preparing.sources.base import Picture
from scalegan.errors import UserError

_SAMPLE = 64
_ALIGNED = (178, 218)       # CelebA's aligned images, for which its usual crop is made


class Found(NamedTuple):
    """A set's facts, and for one that is to be prepared, how: the `--kind` and `--crop` of `scalegan prepare`."""

    images: Images
    kind: str = ""
    crop: str = ""


def is_prepared(path: Path) -> bool:
    return (path / "manifest.json").is_file()


def look(path: Path, labels: str) -> Found:
    """The facts of a set: shards, or images in any layout that `scalegan prepare` knows.

    Args:
        labels: as for its `--labels`.

    Raises:
        UserError: if there is no such set, or it has no images.
    """
    if is_prepared(path):
        manifest, index = load_set(path)
        if manifest.image.kind != "image":
            other = {"volume": "gan3d_glyphs", "latent": "celeba_latents_small"}[manifest.image.kind]
            raise UserError(f"data.path={path} holds {manifest.image.kind}s, and recipe=auto chooses among networks "
                            f"for images; use recipe={other} with this data.path")
        size = manifest.image.resolution
        found = _images(manifest.records, min(manifest.image.sides), manifest.labels, index.labels, prepared=True)
        return Found(replace(found, resolution=size if isinstance(size, str) else ""))
    if not path.exists():
        raise UserError(f"data.path={path} does not exist; give a folder or zip of images, or what `scalegan prepare` "
                        "wrote")
    kind = guess_kind(path)
    source = open_source(kind, [path], labels)
    if not len(source):
        raise UserError(f"data.path={path} holds no images")
    sizes = list(_sizes([picture for _, picture in source.sample(_SAMPLE)]))
    if not sizes:
        raise UserError(f"data.path={path}: none of the {min(len(source), _SAMPLE)} images looked at can be read; "
                        "`scalegan prepare` says what is wrong with each")
    crop = USUAL[kind].crop if kind != "celeba" or set(sizes) == {_ALIGNED} else "center"
    side = int(median(min(size) for size in sizes))
    return Found(_images(len(source), side, source.labels, getattr(source, "table", None)), kind, crop)


def _images(count: int, side: int, labels: LabelSchema, table: np.ndarray | None, prepared: bool = False) -> Images:
    fewest = count
    if labels.kind == "class" and table is not None:
        fewest = int(np.bincount(table, minlength=len(labels.names)).min())
    return Images(count, side, labels.kind, len(labels.names), fewest, prepared)


def _sizes(pictures: list[Picture | Exception]) -> Iterator[tuple[int, int]]:
    """(width, height) of the pictures that can be opened."""
    for picture in pictures:
        if isinstance(picture, np.ndarray):
            yield picture.shape[1], picture.shape[0]
        elif isinstance(picture, bytes):
            with suppress(Exception):       # whatever readers raise on damaged bytes
                yield read_npy(picture).shape[1::-1] if picture.startswith(NPY) else open_picture(picture).size
