"""CIFAR-10: the original pickled batches, or folders of images in train/<class>/ and test/<class>/."""

from functools import lru_cache
from pathlib import Path, PurePosixPath

import numpy as np

from scalegan.data.manifest import LabelSchema
from scalegan.data.preparing.sources.base import Listed
from scalegan.data.preparing.sources.folder import classed
from scalegan.data.preparing.sources.safe_pickle import read_arrays
from scalegan.data.preparing.sources.stores import Store, open_store
from scalegan.data.preparing.sources.survey import survey
from scalegan.errors import UsageError, UserError

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TRAIN, TEST = tuple(f"data_batch_{i}" for i in range(1, 6)), ("test_batch",)
_SIDE = 32


def open_cifar10(path: Path, labels: str = "auto", split: str = "train") -> Listed:
    """The images of `split` (train, test or all) from a folder, a zip, or cifar-10-python.tar.gz."""
    if labels not in ("auto", "class", "none"):
        raise UsageError(f"--labels {labels}: CIFAR-10 has class or none")
    if split not in ("train", "test", "all"):
        raise UsageError(f"--split {split}: CIFAR-10 has train, test or all")
    store = open_store(path)
    batches = {PurePosixPath(name).name: name for name in store.names() if PurePosixPath(name).name in TRAIN + TEST}
    opened = _pickled(path, store, batches, split) if batches else _folders(path, store, split)
    return Listed(opened.name, opened.store, opened.files, remarks=opened.remarks) if labels == "none" else opened


def _folders(path: Path, store: Store, split: str) -> Listed:
    wanted = ("train", "test") if split == "all" else (split,)
    survey_of_all = survey(store)
    found = survey_of_all.files
    depth = next((i for i in (0, 1) if any(_part(file, i) in ("train", "test") for file in found)), 0)
    files = [file for part in wanted for file in found if _part(file, depth) == part]
    if not files:
        raise UserError(f"{path} has neither the batches of cifar-10-python.tar.gz nor images in {wanted[0]}/<class>/")
    return classed(f"cifar10: {path.name}, split {split}", store, survey_of_all._replace(files=files), "class",
                   depth + 1)


def _part(file: str, depth: int) -> str | None:
    """The folder at `depth` on a file's path, if there is another below it: an archive may wrap all in one folder."""
    folders = file.split("/")[:-1]
    return folders[depth] if len(folders) > depth + 1 else None


def _pickled(path: Path, store: Store, batches: dict[str, str], split: str) -> Listed:
    wanted = {"train": TRAIN, "test": TEST, "all": TRAIN + TEST}[split]
    missing = [name for name in wanted if name not in batches]
    if missing:
        raise UserError(f"{path} has no {missing[0]}; unpack cifar-10-python.tar.gz again")
    pickles, files, table = Batches(store, batches), [], []
    for name in wanted:
        labels = pickles.batch(name)[1]
        files += [f"{name}/{i:05d}" for i in range(len(labels))]
        table.append(labels)
    return Listed(f"cifar10: {path.name}, split {split}", pickles, files, LabelSchema("class", CLASSES),
                  np.concatenate(table))


class Batches:
    """The pickled batches as a store of single images, named data_batch_1/00017."""

    def __init__(self, store: Store, batches: dict[str, str]) -> None:
        self.store, self.batches, self.path = store, batches, store.path

    def names(self) -> list[str]:
        return [f"{name}/{i:05d}" for name in self.batches for i in range(len(self.batch(name)[1]))]

    def listing(self) -> tuple[list[str], list[str]]:
        return self.names(), []

    def read(self, name: str) -> np.ndarray:
        batch, _, number = name.partition("/")
        return self.batch(batch)[0][int(number)]

    def batch(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        return _batch(self.store, self.batches[name])


@lru_cache(maxsize=2)
def _batch(store: Store, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Pixels uint8 [n, 32, 32, 3] and labels int64 [n]."""
    origin = f"{store.path}: {name}"
    try:
        data = store.read(name)
    except (ValueError, OSError) as error:
        raise UserError(f"{origin} cannot be read ({error}); unpack cifar-10-python.tar.gz again") from error
    tree = read_arrays(data, origin)
    try:
        flat, given = tree[b"data"], tree[b"labels"]
        labels = given if isinstance(given, np.ndarray) else np.array(_numbers(given))
    except (TypeError, KeyError):
        raise UserError(f"{origin} has no data and labels; is it from CIFAR-10?") from None
    fits = (isinstance(flat, np.ndarray) and flat.dtype == np.uint8 and labels.ndim == 1 and flat.ndim == 2
            and flat.shape == (len(labels), 3 * _SIDE * _SIDE) and labels.dtype.kind == "i"
            and np.isin(labels, range(len(CLASSES))).all())
    if not fits:
        raise UserError(f"{origin} does not hold 32 x 32 colour images of ten classes")
    return flat.reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1), labels.astype(np.int64)


def _numbers(labels: object) -> list[int]:
    """A list of small numbers, as it is: nested lists may share parts, and be without end once written out."""
    if not isinstance(labels, list) or not all(type(label) is int and 0 <= label < len(CLASSES) for label in labels):
        return [-1]
    return labels
