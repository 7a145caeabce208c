"""Reads images straight from a folder or zip, cropped and resized at each load: for small sets and first tries."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import numpy as np

from scalegan.data.manifest import ImageFormat, Index, Manifest, Shard, content_hash, digest_of
from scalegan.data.picture import all_grey, fit, is_converted, read_picture
from scalegan.data.preparing.sources import USUAL, guess_kind, open_source
from scalegan.data.preparing.sources.base import Listed, Picture, attempt
from scalegan.data.reading.record_reader import RecordReader, images_of
from scalegan.errors import UserError
from scalegan.support.resolution import Resolution, sides_of

_SAMPLE = 64
_READERS = 8


class FolderReader(RecordReader):
    """The images of a folder or zip: uint8, labels [N] or [N, K] or None.

    Records are in the order in which `scalegan prepare` would write them, as if in one shard. Its shards hold a
    multiple of the usual `block_records`, so a run sees the same records in the same order from either.

    Every file is read once at the start, for the hash that identifies the data.

    Args:
        path: folder or zip.
        resolution: of the images.
        key: the recipe key that configures it, for errors.
    """

    def __init__(self, path: Path, resolution: Resolution, key: str = "data") -> None:
        self.source = _open(path, key)
        usual = USUAL[guess_kind(path)]
        self.remarks = self.source.remarks
        self.index, converted = _index(self.source)
        grey = all_grey([picture for _, picture in self.source.sample(_SAMPLE)])
        height, width = sides_of(resolution)
        image = ImageFormat(height, 1 if grey else 3, "as found", None, usual.crop, "lanczos",
                            "sRGB" if converted else "", width=None if width == height else width)
        shard = Shard(path.name, len(self.source), int(self.index.sizes.sum()), "")
        self.manifest = Manifest(image, self.source.labels, (shard,), self.source.name,
                                 content_hash(image, self.source.labels, self.index))
        self.sizes = (len(self.source),)
        self.labels = self.index.labels if len(self.index.labels) else None
        self.keys = [str(PurePosixPath(file).with_suffix("")) for file in self.source.files]
        self.sample = images_of(image)

    def read(self, out: np.ndarray, records: np.ndarray) -> None:
        for row, record in zip(out, records.tolist()):
            row[:] = self.pixels(record)

    def pixels(self, record: int) -> np.ndarray:
        entry, image = self.source.entry(record), self.manifest.image
        try:
            picture = entry.read()
            if _digest(picture) != self.index.digests[record]:
                raise ValueError("it has changed since the run began")
            pixels = read_picture(picture) if isinstance(picture, bytes) else picture
            if pixels.shape[2] > image.channels:
                raise ValueError("it is in colour among grey pictures")
            return fit(pixels, image.crop, image.sides, image.channels, image.filter).pixels
        except (ValueError, OSError) as error:
            raise UserError(f"{self.source.store.path}: {entry.key} cannot be used ({error}); remove it, or use "
                            "`scalegan prepare`, which skips such images") from error


def _open(path: Path, key: str) -> Listed:
    if not path.exists():
        raise UserError(f"{key}.path={path} does not exist; {key}.backend=folder needs a folder or zip of images")
    if (path / "manifest.json").exists():
        raise UserError(f"{key}.path={path} holds shards; remove {key}.backend=folder")
    kind = guess_kind(path)
    if kind == "lsun":
        raise UserError(f"{key}.path={path} is an LMDB, which {key}.backend=folder cannot read; convert it to shards "
                        f"with `scalegan prepare {path} DEST --kind lsun`")
    return open_source(kind, [path])


def _index(source: Listed) -> tuple[Index, bool]:
    """Sizes and digests of all files as they are now, and whether any is converted to sRGB."""
    with ThreadPoolExecutor(_READERS) as pool:
        facts = list(pool.map(lambda number: _facts(source, number), range(len(source))))
    sizes, digests, converted = zip(*facts)
    labels = np.array([], np.int64) if source.table is None else source.table
    index = Index(np.zeros(len(source), np.int64), np.array(sizes, np.int64), np.array(digests, np.uint64), labels)
    return index, any(converted)


def _facts(source: Listed, number: int) -> tuple[int, int, bool]:
    entry = source.entry(number)
    picture = attempt(entry.read)
    if isinstance(picture, Exception):
        raise UserError(f"{source.store.path}: cannot read {entry.key}: {picture}")
    if not isinstance(picture, bytes):
        return picture.nbytes, _digest(picture), False
    return len(picture), _digest(picture), is_converted(picture)


def _digest(picture: Picture) -> int:
    return digest_of(picture if isinstance(picture, bytes) else np.ascontiguousarray(picture).tobytes())
