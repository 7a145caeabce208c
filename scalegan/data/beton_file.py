"""`data.beton`: a shard set's records in FFCV's file format, next to the manifest and index that describe them.

Stored bytes, JPEG or raw, are copied unchanged, so the set keeps its content hash and a run its identity. Labels stay
in the index. The file is an ordinary beton with two fields: `image`, which for colour is FFCV's own RGBImageField, and
`checksum`, an integer over the image's bytes that is checked at every load.
"""

import math
import mmap
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import simplejpeg

from scalegan.data.manifest import ImageFormat, Index, Manifest, digest_of
from scalegan.errors import UserError
from scalegan.support.files import replacing, write_whole
from scalegan.support.progress import Bar
from scalegan.support.reading import regular

if TYPE_CHECKING:
    from scalegan.data.beton_pipeline import Pipeline

BETON = "data.beton"
ENCODINGS = ("jpeg", "raw")
_ALIGNMENT = 8                          # the checksum reads whole words
_MIN_PAGE, _MAX_PAGE = 1 << 23, 1 << 31
_REPORT_EVERY = 256
_SAMPLE = 64
_CUSTOM_FIELD = 255
_importing = threading.Lock()


def require() -> None:
    """Imports FFCV.

    Raises:
        UserError: if it cannot be imported, with the commands that install it.
    """
    import torch

    with _importing:
        threads = torch.get_num_threads()
        try:
            with _plain_dictionaries():
                import ffcv  # noqa: F401
            import scalegan.data.beton_pipeline  # noqa: F401
        except ImportError as error:
            raise UserError(f"FFCV cannot be imported ({error}); install it with `apt-get install g++ pkg-config "
                            "libopencv-dev libturbojpeg0-dev` (on Debian) and `pip install -e '.[ffcv]'`, or set "
                            "data.backend=webdataset to use the shards") from error
        finally:
            torch.set_num_threads(threads)      # FFCV sets it to 1, and a run's bits depend on it


@contextmanager
def _plain_dictionaries() -> Iterator[None]:
    """FFCV keeps two numbers in a numba typed dictionary, which takes 7 seconds to compile in every process. It only
    looks them up from Python, so a plain dict will do."""
    from numba import typed

    before, typed.Dict = typed.Dict, dict
    try:
        yield
    finally:
        typed.Dict = before


def usual_encoding(encoding: str) -> str:
    """`encoding`, the default of a --kind, or raw if FFCV cannot decode it (PNG); raw is lossless too."""
    return encoding if encoding in ENCODINGS else "raw"


def check_encoding(encoding: str) -> None:
    """Raises UserError for an encoding that FFCV's compiled pipelines cannot decode."""
    if encoding not in ENCODINGS:
        raise UserError(f"FFCV stores jpeg or raw, not {encoding}; prepare with --encoding raw, which is lossless, "
                        "or --encoding jpeg")


def convert(folder: Path) -> None:
    """Writes data.beton next to the shards, unless it exists."""
    write_beton(folder, folder)


def write_beton(folder: Path, destination: Path) -> Path:
    """Converts a WebDataset shard set: writes data.beton to `destination`, with copies of index.safetensors and
    manifest.json. An existing beton is kept.

    Raises:
        UserError: if FFCV is missing, or a record is damaged or in an encoding that FFCV cannot decode.
    """
    require()
    manifest, index = Manifest.load(folder), Index.load(folder / "index.safetensors")
    if manifest.image.kind == "volume":
        raise UserError(f"{folder} holds volumes, and FFCV reads images; train on the shards, which need no "
                        "data.backend")
    check_encoding(manifest.image.encoding)
    destination.mkdir(parents=True, exist_ok=True)
    path = destination / BETON
    if not path.exists():
        with replacing(path) as unfinished:
            _Writer(unfinished, manifest, index).write(folder)
    for name in ("index.safetensors", "manifest.json"):
        if not (destination / name).exists():
            write_whole(destination / name, (folder / name).read_bytes())
    return path


class _Writer:
    """Lays out and writes one file: header, field descriptors, record table, pages of data, and allocation table.
    FFCV's own writer hangs after an exception in one of its processes, and holds several objects per record in memory.
    """

    def __init__(self, path: Path, manifest: Manifest, index: Index) -> None:
        from ffcv import types

        from scalegan.data import beton_pipeline

        self.path, self.manifest, self.index, self.checksum = path, manifest, index, beton_pipeline.checksum
        self.page = _page_size(int(index.sizes.max()))
        fields = beton_pipeline.fields()
        self.descriptors = np.zeros(len(fields), types.FieldDescType)
        for descriptor, (name, number) in zip(self.descriptors, _field_numbers(manifest.image).items()):
            descriptor["type_id"] = number
            descriptor["name"][: len(name)] = np.frombuffer(name.encode(), np.uint8)
        self.records = np.zeros(manifest.records, types.get_metadata_type(list(fields.values())))
        self.header = np.zeros(1, types.HeaderType)
        begin = self.header.nbytes + self.descriptors.nbytes + self.records.nbytes
        self.places, end = _places(index.sizes, _up(begin, self.page), self.page)
        self._fill(types, beton_pipeline, _up(end, self.page))

    def _fill(self, types, pipeline, end: int) -> None:
        image = self.records["f0"]
        image["mode"] = pipeline.JPEG if self.manifest.image.encoding == "jpeg" else pipeline.RAW
        image["height"], image["width"] = self.manifest.image.sides
        image["data_ptr"] = self.places
        self.allocations = np.zeros(len(self.records), types.ALLOC_TABLE_TYPE)
        self.allocations["sample_id"] = np.arange(len(self.records))
        self.allocations["ptr"], self.allocations["size"] = self.places, self.index.sizes
        header = self.header[0]
        header["version"], header["num_fields"] = types.CURRENT_VERSION, len(self.descriptors)
        header["page_size"], header["num_samples"], header["alloc_table_ptr"] = self.page, len(self.records), end

    def write(self, folder: Path) -> None:
        with self.path.open("wb") as file, Bar("writing " + BETON, len(self.records)) as bar:
            for record, data in enumerate(_stored(folder, self.manifest, self.index)):
                file.seek(int(self.places[record]))
                file.write(data)
                self.records["f1"][record] = self.checksum(np.frombuffer(data, np.uint8))
                if record % _REPORT_EVERY == _REPORT_EVERY - 1:
                    bar.advance(_REPORT_EVERY)
            bar.advance(len(self.records) % _REPORT_EVERY)
            file.seek(int(self.header[0]["alloc_table_ptr"]))
            file.write(self.allocations.tobytes())
            file.seek(0)
            for part in (self.header, self.descriptors, self.records):
                file.write(part.tobytes())
            file.flush()
            os.fsync(file.fileno())


def _field_numbers(image: ImageFormat) -> dict[str, int]:
    """FFCV's type ids of the fields. FFCV's image field is for RGB of 8 bits, so anything else gets the id for custom
    fields, which FFCV's stock Loader refuses."""
    return {"image": 2 if image.is_photo and image.channels == 3 else _CUSTOM_FIELD, "checksum": 1}


def _page_size(largest: int) -> int:
    """Records do not cross pages; with 16 or more in each, little space is wasted."""
    page = _MIN_PAGE
    while page < 16 * largest and page < _MAX_PAGE:
        page *= 2
    return page


def _places(sizes: np.ndarray, begin: int, page: int) -> tuple[np.ndarray, int]:
    """Offset of each record, and the end of the last one."""
    places, place = [], begin
    for size in sizes.tolist():
        place = _up(place, _ALIGNMENT)
        if place % page + size > page:
            place = _up(place, page)
        places.append(place)
        place += size
    return np.array(places, np.int64), place


def _up(number: int, step: int) -> int:
    return -(-number // step) * step


def _stored(folder: Path, manifest: Manifest, index: Index) -> Iterator[bytes]:
    """Every record's bytes from the shards, each checked against its digest."""
    first = 0
    for shard in manifest.shards:
        path = folder / shard.name
        try:
            file = regular(path).open("rb")
        except OSError as error:
            raise UserError(f"cannot open {path}: {error.strerror}; remove DEST and run the same "
                            "`scalegan prepare` command again") from error
        with file:
            for record in range(first, first + shard.records):
                file.seek(int(index.offsets[record]))
                data = file.read(int(index.sizes[record]))
                damage = _damage(data, int(index.digests[record]), manifest.image)
                if damage:
                    raise UserError(f"record {record} in {path} is damaged ({damage}); remove DEST and run "
                                    "the same `scalegan prepare` command again")
                yield data
        first += shard.records


def _damage(data: bytes, digest: int, image: ImageFormat) -> str | None:
    """What is wrong with a record's bytes, or None."""
    if digest_of(data) != digest:
        return "its checksum differs"
    if image.encoding == "jpeg":
        try:
            side = simplejpeg.decode_jpeg_header(data)[:2]
        except ValueError as error:
            return str(error)
        return None if side == image.sides else f"it is {side[1]} x {side[0]} pixels"
    size = math.prod(image.shape) * image.dtype.itemsize
    return None if len(data) == size else f"it has {len(data)} bytes, not {size}"


def stands_alone(folder: Path) -> bool:
    """Whether only data.beton is left: it holds every record, so the tars may have been removed."""
    return (folder / BETON).is_file() and not any((folder / s.name).exists() for s in Manifest.load(folder).shards)


def open_pipeline(path: Path, manifest: Manifest, index: Index) -> "Pipeline":
    """Opens a beton. Raises UserError if FFCV or the file is missing, or the file does not match manifest and index."""
    check_encoding(manifest.image.encoding)
    if not path.is_file():
        raise UserError(f"{path} does not exist; add it to the shards by running the same `scalegan prepare` command "
                        "with --format ffcv, or set data.backend=webdataset")
    require()
    from scalegan.data.beton_pipeline import Pipeline

    try:
        pipeline = Pipeline(path, manifest.image)
        if not np.array_equal(pipeline.sizes, index.sizes) or len(index.sizes) != manifest.records:
            raise ValueError("its records do not match index.safetensors")
        ends = pipeline.places + pipeline.sizes
        if pipeline.places.min() < 0 or ends.max() > len(pipeline.file) or (ends[:-1] > pipeline.places[1:]).any():
            raise ValueError("its records overlap or extend past its end")
        sample = np.unique(np.linspace(0, len(ends) - 1, _SAMPLE).astype(int)).tolist()
        known = [digest_of(pipeline.file[pipeline.places[i] : ends[i]].tobytes()) == index.digests[i] for i in sample]
        if sum(known) < len(known) / 2:     # a few mismatches are damage, reported when read
            raise ValueError("its records do not match index.safetensors")
    except (ValueError, AssertionError, IndexError, OSError, UnicodeDecodeError, KeyError, MemoryError) as error:
        # FFCV's reader may raise any of these on a damaged header.
        raise UserError(f"{path} is damaged, or not written by ScaleGAN ({error}); remove it and run "
                        "`scalegan prepare --format ffcv` again") from error
    # `expect` prefetches windows; reading ahead around single records would be wasted.
    pipeline.file.base.madvise(mmap.MADV_RANDOM)
    return pipeline
