"""Our decoder for FFCV: FFCV's graph compiles it and FFCV's reader opens the file, but order and threads are ours.

FFCV's own image field decodes JPEG with the fast DCT, up to 24 grey levels off; ours uses the accurate one, as the
other backends do, computes the record's checksum along the way, and reports failure instead of leaving garbage. FFCV's
Loader is not used: it builds three dictionaries over all records, sets torch's number of threads, and hangs when its
thread fails.

Importing this needs FFCV; `beton_file.require` says what to install. The kernels are compiled once per machine (numba
caches them); FFCV's thin wrapper around them is compiled in each process.
"""

import ctypes
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import llvmlite.binding
import numpy as np
from ffcv.fields import IntField, RGBImageField
from ffcv.libffcv import lib
from ffcv.pipeline import PipelineSpec
from ffcv.pipeline.allocation_query import AllocationQuery
from ffcv.pipeline.graph import Graph
from ffcv.pipeline.operation import Operation
from ffcv.pipeline.state import State
from ffcv.reader import Reader
from ffcv.types import ALLOC_TABLE_TYPE, HeaderType
from numba import config, njit, types

from scalegan.data.manifest import ImageFormat
from scalegan.support.caching import cache_folder, go_without

FIELDS = ("image", "checksum")
JPEG, RAW = 0, 1                            # FFCV's codes for what a record holds
_RGB, _GREY = 0, 6                          # libjpeg-turbo's constants from here on
_ACCURATE_DCT, _STOP_ON_WARNING = 4096, 8192
_PRIME = np.uint64(0x9E3779B97F4A7C15)
_STEP = np.uint64(0x9E3779B1)
_WHAT = "compiled code of the FFCV loader"
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


def _turbojpeg(name: str, signature: types.Type) -> types.ExternalFunction:
    """A function of the library that FFCV is linked with, under a name that cached code can look up again."""
    symbol = f"scalegan_{name}"
    llvmlite.binding.add_symbol(symbol, ctypes.cast(getattr(lib, name), ctypes.c_void_p).value)
    return types.ExternalFunction(symbol, signature)


_open = _turbojpeg("tjInitDecompress", types.uintp())
_close = _turbojpeg("tjDestroy", types.int32(types.uintp))
_decompress = _turbojpeg("tjDecompress2", types.int32(
    types.uintp, types.uintp, types.uint64, types.uintp, *([types.int32] * 5)))
_copy = types.ExternalFunction("memcpy", types.uintp(types.uintp, types.uintp, types.uintp))   # from the C library


def _kernel(function: Callable) -> Callable:
    """Compiled code, which numba keeps beside this file or in a cache; else it is compiled anew in each process."""
    try:
        try:
            kernel = njit(cache=True, nogil=True)(function)
        except RuntimeError:            # numba finds no folder that it could write to
            config.CACHE_DIR = str(cache_folder("compiled"))
            kernel = njit(cache=True, nogil=True)(function)
    except (OSError, RuntimeError) as error:
        go_without(_WHAT, error)
        return njit(nogil=True)(function)
    kernel._cache.save_overload = _forgiving(kernel._cache.save_overload)
    return kernel


def _forgiving(save: Callable) -> Callable:
    def attempt(*given: Any) -> None:
        try:
            save(*given)
        except OSError as error:        # a full disk, say
            go_without(_WHAT, error)

    return attempt


@_kernel
def checksum(data: np.ndarray) -> int:
    """64-bit checksum of bytes, at memory speed: sums of words and of products of their keyed halves.

    No iteration of the loop waits for the one before, so that the compiler can vectorise it.
    """
    words = data[: data.size // 8 * 8].view(np.uint64)
    products, total = np.uint64(0), np.uint64(data.size)
    for i in range(words.size):
        keyed = words[i] ^ (_PRIME + np.uint64(i) * _STEP)
        products += (keyed & _LOW) * (keyed >> _HALF)
        total += words[i]
    rest = _PRIME
    for i in range(words.size * 8, data.size):
        rest = (rest ^ np.uint64(data[i])) * _PRIME
    return np.int64((products ^ (products >> _HALF)) * _PRIME + total + rest)


@_kernel
def _decode_jpegs(records: np.ndarray, file: np.ndarray, places: np.ndarray, sizes: np.ndarray, pixels: np.ndarray,
                  checks: np.ndarray) -> None:
    """Fills `checks` with each record's checksum, and 0 if it was decoded."""
    height, width, channels = pixels.shape[1:]
    kind = _RGB if channels == 3 else _GREY
    handle = _open()
    for row, record in enumerate(records):
        data = file[places[record] : places[record] + sizes[record]]
        checks[row, 0] = checksum(data)
        checks[row, 1] = _decompress(handle, data.ctypes.data, data.size, pixels[row].ctypes.data, width, 0, height,
                                     kind, _ACCURATE_DCT | _STOP_ON_WARNING)
    _close(handle)


@_kernel
def _copy_raw(records: np.ndarray, file: np.ndarray, places: np.ndarray, sizes: np.ndarray, pixels: np.ndarray,
              checks: np.ndarray) -> None:
    for row, record in enumerate(records):
        data = file[places[record] : places[record] + sizes[record]]
        target = pixels[row].reshape(-1)
        checks[row, 0], checks[row, 1] = checksum(data), data.size - target.size
        if data.size == target.size:
            _copy(target.ctypes.data, data.ctypes.data, data.size)


class DecodeRecord(Operation):
    """Decodes stored bytes to uint8 [H, W, bytes of a pixel], along with checks that reveal damage."""

    def __init__(self, image: ImageFormat) -> None:
        super().__init__()
        self.image = image

    def declare_state_and_memory(self, previous_state: State) -> tuple[State, tuple[AllocationQuery, AllocationQuery]]:
        (height, width, channels), pixel = self.image.shape, np.dtype("<u1")
        shape = (height, width, channels * self.image.depth // 8)
        state = replace(previous_state, jit_mode=True, shape=shape, dtype=pixel)
        return state, (AllocationQuery(shape, pixel), AllocationQuery((2,), np.dtype("<i8")))

    def generate_code(self):
        kernel = _decode_jpegs if self.image.encoding == "jpeg" else _copy_raw

        def decode(batch_indices, memory, metadata, storage_state):
            file, places, sizes = storage_state     # in record order, as `Pipeline` verifies
            kernel(batch_indices, file, places, sizes, memory[0], memory[1])
            return memory

        return decode


class RecordField(RGBImageField):
    """An image's stored bytes, unchanged. FFCV's own RGBImageField can read those of colour images too."""

    @staticmethod
    def from_binary(binary: np.ndarray) -> "RecordField":
        return RecordField()

    def get_decoder_class(self) -> type[Operation]:
        return DecodeRecord


class Pipeline:
    """A beton opened for reading, and FFCV's compiled code that decodes its records. Any number of threads may call it.

    Raises:
        ValueError: if the file is not one that `write_beton` makes.
    """

    def __init__(self, path: Path, image: ImageFormat) -> None:
        _check_end(path)
        reader = Reader(str(path), {"image": RecordField})
        if tuple(reader.field_names) != FIELDS or len(reader.alloc_table) != reader.num_samples:
            raise ValueError(f"its fields are {reader.field_names}, not {FIELDS} with one place per record")
        self.places = reader.alloc_table["ptr"].astype(np.int64)
        self.sizes = reader.alloc_table["size"].astype(np.int64)
        self.checksums = np.ascontiguousarray(reader.metadata["f1"])
        if not np.array_equal(reader.metadata["f0"]["data_ptr"], self.places):
            raise ValueError("its records are not stored in order")
        self.file = np.memmap(path, np.uint8, mode="r")
        self._run = _compiled(reader, image, (self.file, self.places, self.sizes))

    def __call__(self, records: np.ndarray, pixels: np.ndarray) -> np.ndarray:
        """Fills `pixels`, uint8 or uint16 [n, H, W, C]; returns int64 [n, 2]: each record's checksum, and 0 if it was
        decoded."""
        checks = np.empty((len(records), 2), np.int64)
        self._run(records, pixels.view(np.uint8), checks)
        return checks


def _check_end(path: Path) -> None:
    """Raises ValueError unless the file ends with its allocation table, as FFCV reads whatever is there instead."""
    header = np.fromfile(path, HeaderType, 1)
    size = path.stat().st_size
    if not len(header) or size != int(header["alloc_table_ptr"][0]) + (
            int(header["num_samples"][0]) * ALLOC_TABLE_TYPE.itemsize):
        raise ValueError(f"its {size:,} bytes are not those that its header describes")


def _compiled(reader: Reader, image: ImageFormat, storage: tuple[np.ndarray, np.ndarray, np.ndarray]):
    """FFCV's one-node graph, compiled to a function (records, pixels, checks)."""
    spec = {"image": PipelineSpec("image", DecodeRecord(image))}
    graph = Graph(spec, reader.handlers, {name: i for i, name in enumerate(reader.field_names)}, reader.metadata, None)
    [(stage, [node])], _ = graph.codegen_all(graph.collect_requirements()[1])
    fixed = {"metadata": reader.metadata, "storage_state": storage, f"shared_memory_{node}": None}
    memory = f"memory_{node}"

    def run(records: np.ndarray, pixels: np.ndarray, checks: np.ndarray) -> None:
        stage(batch_indices=records, **fixed, **{memory: (pixels, checks)})

    return run


def fields() -> dict[str, RGBImageField | IntField]:
    """The fields of a beton, in order."""
    return dict(zip(FIELDS, (RecordField(), IntField())))
