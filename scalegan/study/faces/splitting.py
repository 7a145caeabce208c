"""A labelled set as two without labels: the photos without an attribute, and those with it."""

from pathlib import Path

import numpy as np

from scalegan.data.manifest import LabelSchema, Manifest, digest_of
from scalegan.data.preparing.shards import Record, finish, write_shard
from scalegan.errors import UserError
from scalegan.metrics.images import StoredImages

_SHARD_RECORDS = 160


def split(images: StoredImages, attribute: str, folder: Path) -> tuple[Path, Path]:
    """Writes the shard sets `folder`/A, without the attribute, and `folder`/B, with it, unless they are there already.
    Records keep their order and their bytes, so that nothing is encoded twice.

    Raises:
        UserError: if a record is damaged, or the folder holds the parts of another set.
    """
    has = images.labels[:, images.classes.index(attribute)] == 1
    sets = {folder / "A": np.flatnonzero(~has), folder / "B": np.flatnonzero(has)}
    for part, numbers in sets.items():
        source = f"{len(numbers):,} photos {'with' if part.name == 'B' else 'without'} {attribute}, content " \
                 f"{images.content}"
        if not (part / "manifest.json").exists():
            _write(part, images, numbers, source)
        elif Manifest.load(part).source != source:
            raise UserError(f"{part} was made from other photos than {images.name}; use another --out")
    return folder / "A", folder / "B"


def _write(folder: Path, images: StoredImages, numbers: np.ndarray, source: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    image = images.reader.manifest.image
    parts = []
    for first in range(0, len(numbers), _SHARD_RECORDS):
        some = numbers[first : first + _SHARD_RECORDS]
        records = [Record(_checked(images, number, data), None)
                   for number, data in zip(some.tolist(), images.reader.stored(some))]
        parts.append(write_shard(folder / f"{first // _SHARD_RECORDS:06d}.tar", records, first, image.encoding))
    finish(folder, [shard for shard, _ in parts], [index for _, index in parts], image, LabelSchema(), source)


def _checked(images: StoredImages, number: int, data: bytes) -> bytes:
    if digest_of(data) != images.reader.index.digests[number]:
        raise UserError(f"{images.name}: record {number} is damaged; restore its shard, or prepare the set again")
    return data
