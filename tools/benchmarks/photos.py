"""The photos that loaders are measured on, prepared once by `scalegan prepare` in a temporary folder."""

import atexit
import hashlib
import io
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from functools import cache
from itertools import islice
from pathlib import Path

import lmdb
import numpy as np
import simplejpeg
from PIL import Image

from scalegan.commands import prepare
from scalegan.data.manifest import Index, Manifest

USUAL = "lfw.zip"
_SYNTHETIC, _SIDE = 3072, 250
_LSUN_PHOTOS, _LSUN_RECORDS = 3000, 12_000      # enough for start-up to be negligible


@cache
def scratch() -> Path:
    """A folder that is removed when this process exits."""
    folder = Path(tempfile.mkdtemp(prefix="scalegan-benchmark-"))
    owner = os.getpid()
    atexit.register(lambda: shutil.rmtree(folder, ignore_errors=True) if os.getpid() == owner else None)
    return folder


@cache
def source() -> Path:
    """A zip or folder of photos: the one in --data, lfw.zip in the test data, or synthetic pictures."""
    given = os.environ.get("SCALEGAN_BENCHMARK_DATA")
    if given:
        return Path(given)
    root = Path(__file__).resolve().parents[2]
    usual = Path(os.environ.get("SCALEGAN_TEST_DATA") or root.parent / "shared" / "data") / USUAL
    return usual if usual.exists() else _synthesised()


def _synthesised() -> Path:
    print(f"{USUAL} was not found: using {_SYNTHETIC} synthetic pictures; set --data to measure on photos",
          file=sys.stderr)
    path = scratch() / "made.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(_SYNTHETIC):
            archive.writestr(f"{number:06d}.jpg", _photo_like(number))
    return path


def _photo_like(number: int) -> bytes:
    """Noise whose power falls with frequency, as in photos: octaves of random grids, each with half the amplitude."""
    random = np.random.Generator(np.random.Philox(number))
    pixels = np.zeros((_SIDE, _SIDE, 3), np.float32)
    for octave in range(1, 8):
        grid = random.integers(0, 256, (2**octave, 2**octave, 3), np.uint8)
        smooth = Image.fromarray(grid).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
        pixels += (np.asarray(smooth, np.float32) - 128) / 2**octave
    return simplejpeg.encode_jpeg((pixels + 128).clip(0, 255).astype(np.uint8), 92)


@cache
def shards(size: int, encoding: str = "jpeg") -> Path:
    """The photos as shards of `size` px images."""
    folder = scratch() / f"{encoding}{size}"
    _prepare([str(source()), str(folder), "--resolution", str(size), "--encoding", encoding, "--labels", "none",
              "--channels", "3"])
    return folder


def _prepare(arguments: list[str]) -> None:
    with redirect_stdout(sys.stderr):
        prepare.main(arguments)


def stored(size: int) -> Iterator[bytes]:
    """The bytes of every stored JPEG, in order."""
    folder = shards(size)
    manifest, index = Manifest.load(folder), Index.load(folder / "index.safetensors")
    first = 0
    for shard in manifest.shards:
        content = (folder / shard.name).read_bytes()
        for record in range(first, first + shard.records):
            offset = int(index.offsets[record])
            yield content[offset : offset + int(index.sizes[record])]
        first += shard.records


@cache
def image_folder(size: int) -> Path:
    """The same JPEGs as files in one class folder."""
    folder = scratch() / f"files{size}" / "photos"
    folder.mkdir(parents=True)
    for number, data in enumerate(stored(size)):
        (folder / f"{number:06d}.jpg").write_bytes(data)
    return folder.parent


@cache
def beton(size: int, encoding: str = "jpeg") -> Path:
    """The shard folder, with FFCV's file added to it."""
    from scalegan.data.beton_file import write_beton

    with redirect_stdout(sys.stderr):
        write_beton(shards(size, encoding), shards(size, encoding))
    return shards(size, encoding)


@cache
def lsun() -> Path:
    """An LMDB like LSUN's: keys are hexadecimal hashes, values are pictures whose shorter side is 256 px."""
    folder = scratch() / "bedroom_train_lmdb"
    pictures = [_as_webp(data) for data in islice(stored(256), _LSUN_PHOTOS)]
    environment = lmdb.open(str(folder), map_size=1 << 34)
    with environment.begin(write=True) as transaction:
        for number in range(_LSUN_RECORDS):
            key = hashlib.sha1(str(number).encode()).hexdigest().encode()
            transaction.put(key, pictures[number % len(pictures)])
    environment.close()
    return folder


def _as_webp(jpeg: bytes) -> bytes:
    buffer = io.BytesIO()
    Image.open(io.BytesIO(jpeg)).save(buffer, "WEBP", quality=75, method=0)
    return buffer.getvalue()

