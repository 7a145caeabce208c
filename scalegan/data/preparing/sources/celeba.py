"""CelebA: aligned images in a folder or zip, and its three text files of annotations."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from scalegan.data.manifest import LabelSchema
from scalegan.data.preparing.sources.base import Listed
from scalegan.data.preparing.sources.stores import Store, open_store
from scalegan.data.preparing.sources.survey import survey
from scalegan.errors import UsageError, UserError
from scalegan.support.reading import read_bytes

ATTRIBUTES, IDENTITIES, PARTITION = "list_attr_celeba.txt", "identity_CelebA.txt", "list_eval_partition.txt"
SPLITS = {"train": 0, "val": 1, "test": 2}


def open_celeba(path: Path, labels: str = "auto", split: str = "all", annotations: Path | None = None) -> Listed:
    """The images of `split`, in order of their numbers, and who they show, if there is the file that says so.

    Args:
        path: `img_align_celeba`, or a folder or zip that holds it.
        labels: `attributes`, `identity` (a class per person), `none`, or `auto`: attributes if there are any.
        annotations: folder or zip with the text files, if they are not next to the images.
    """
    if labels not in ("auto", "attributes", "identity", "none"):
        raise UsageError(f"--labels {labels}: CelebA has attributes, identity or none")
    store = _images(path)
    found = survey(store)._replace(empty=[])     # the folders of annotations
    files, remarks = _aligned(found.files), found.remarks
    if not files:
        raise UserError(f"{path} has no CelebA images in it; use img_align_celeba, as a folder or zip")
    texts = _Annotations(path, store, annotations)
    if split != "all":
        part = texts.rows_of(files, parse_numbers(texts.text(PARTITION), PARTITION), PARTITION)
        files = [file for file, number in zip(files, part) if number == SPLITS[split]]
        if not files:
            raise UsageError(f"--split {split}: {PARTITION} assigns none of the images in {path} to it")
    name = f"celeba: {path.name}, split {split}"
    if labels == "auto" and annotations is not None and split == "all":
        labels = "attributes"       # why else would they be given
    if labels == "auto":
        labels = "attributes" if texts.find(ATTRIBUTES) is not None else "none"
    people = None
    try:
        if labels == "identity" or texts.find(IDENTITIES) is not None:
            people = texts.rows_of(files, parse_numbers(texts.text(IDENTITIES), IDENTITIES), IDENTITIES)
    except UserError as error:
        if labels == "identity":
            raise
        remarks += (f"who the images show is not recorded: {error}",)
    if labels == "none":
        return Listed(name, store, files, remarks=remarks, people=people)
    if labels == "identity":
        known, table = np.unique(people, return_inverse=True)
        return Listed(name, store, files, LabelSchema("class", tuple(map(str, known.tolist()))), table.astype(np.int64),
                      remarks, people)
    names, rows = parse_attributes(texts.text(ATTRIBUTES))
    return Listed(name, store, files, LabelSchema("attributes", names), texts.rows_of(files, rows, ATTRIBUTES),
                  remarks, people)


def _images(path: Path) -> Store:
    """The store of the images: if `path` is a folder with img_align_celeba.zip in it, that zip."""
    if path.is_dir() and not (path / "img_align_celeba").is_dir():
        zipped = [p for p in (path / "img_align_celeba.zip", path / "Img" / "img_align_celeba.zip") if p.exists()]
        if zipped and not (path / "Img" / "img_align_celeba").is_dir():
            return open_store(zipped[0])
    return open_store(path)


def _aligned(files: list[str]) -> list[str]:
    """Files in img_align_celeba, or else img_align_celeba_png and the like: in-the-wild images may lie next to it."""
    exact = [file for file in files if "img_align_celeba" in file.split("/")[:-1]]
    return exact or [file for file in files if "/img_align_celeba" in f"/{file.rpartition('/')[0]}"] or files


class _Annotations:
    """CelebA's text files, in the images' store, next to it, in Anno/ and Eval/, or in the folder or zip given."""

    def __init__(self, path: Path, images: Store, given: Path | None) -> None:
        self.path, self.given = path, given
        self.stores = [images] if given is None else [open_store(given)]

    def text(self, name: str) -> str:
        found = self.find(name)
        if found is None:
            raise UserError(f"there is no {name} in or next to {self.given or self.path}; set --annotations PATH, "
                            "or use --labels none and no --split")
        return found

    def find(self, name: str) -> str | None:
        found = self._find(name)
        if found is None and (table := self._find(name.replace(".txt", ".csv"))) is not None:
            return _from_csv(table, name)
        return found

    def _find(self, name: str) -> str | None:
        for store in self.stores:
            for file in store.names():
                if PurePosixPath(file).name == name:
                    return _decoded(partial(store.read, file), f"{store.path}: {file}")
        if self.given is None:
            for folder in (self.path, *self.path.parents[:2]):
                for place in (folder / name, folder / "Anno" / name, folder / "Eval" / name):
                    if place.is_file():
                        return _decoded(partial(read_bytes, place), str(place))
        return None

    def rows_of(self, files: list[str], rows: dict[str, np.ndarray | int], origin: str) -> np.ndarray:
        """The files' rows, in their order; matched without suffix, as there are .png copies of the .jpg files."""
        stems = [PurePosixPath(file).stem for file in files]
        missing = [stem for stem in stems if stem not in rows]
        if missing:
            raise UserError(f"{origin} has no row for {missing[0]} and {len(missing) - 1} more of the images in "
                            f"{self.path}; use the file that belongs to them, or --labels none")
        return np.array([rows[stem] for stem in stems])


def _from_csv(table: str, name: str) -> str:
    """Converts Kaggle's copy of a text file, which has commas and always a header line."""
    names, *rows = table.replace(",", " ").splitlines() or [""]
    head = [str(sum(map(bool, rows))), " ".join(names.split()[1:])] if name == ATTRIBUTES else []
    return "\n".join([*head, *rows])


def _decoded(read: Callable[[], bytes], origin: str) -> str:
    try:
        return read().decode("utf-8-sig")
    except (ValueError, OSError) as error:
        raise UserError(f"{origin} cannot be read as text ({error}); download it again") from error


def parse_attributes(text: str) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Attribute names, and a row of 0s and 1s (uint8 [K]) per image; the file has -1 and 1."""
    lines = text.splitlines()
    try:
        count, names = int(lines[0]), tuple(lines[1].split())
    except (IndexError, ValueError):
        raise UserError(f"{ATTRIBUTES} does not begin with a count and a line of names") from None
    rows = {}
    for stem, values in _rows(lines[2:]):
        if len(values) != len(names) or not {"-1", "1"}.issuperset(values):
            raise UserError(f"{ATTRIBUTES}: the row for {stem} does not have {len(names)} values of -1 or 1")
        rows[stem] = np.frombuffer(bytes([value == "1" for value in values]), np.uint8)
    if len(rows) != count:
        raise UserError(f"{ATTRIBUTES} announces {count:,} rows but has {len(rows):,}; download it again")
    return names, rows


def parse_numbers(text: str, origin: str) -> dict[str, int]:
    """One number per image: identities, or the partition."""
    rows = {}
    for stem, values in _rows(text.splitlines()):
        if len(values) != 1 or not values[0].isdigit():
            raise UserError(f"{origin}: the row for {stem} is not a file name and a number")
        rows[stem] = int(values[0])
    return rows


def _rows(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    for line in lines:
        name, *values = line.split() or [""]
        if name:
            yield name.rpartition(".")[0] or name, values
