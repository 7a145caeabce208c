"""Pairs of images: two folders matched by name, or images that hold both halves side by side."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath

import numpy as np

from scalegan.data.manifest import LabelSchema
from scalegan.data.picture import read_picture
from scalegan.data.preparing.sources.base import Entry, Picture, attempt
from scalegan.data.preparing.sources.stores import Store, natural, open_store
from scalegan.data.preparing.sources.survey import shortened, survey
from scalegan.errors import UsageError, UserError

SIDES = ("A", "B")


@dataclass(frozen=True)
class PairSource:
    """One side of all pairs, in natural order of their keys.

    A record can be read only if its partner can be decoded too, so that both sides leave out the same pairs.

    Args:
        files: by key, the files of A and B; the same file twice if it holds both halves.
        side: 0 for A (left), 1 for B (right).
    """

    name: str
    store: Store
    files: Mapping[str, tuple[str, str]]
    side: int
    remarks: tuple[str, ...] = ()
    labels: LabelSchema = field(default_factory=LabelSchema)

    def __len__(self) -> int:
        return len(self.files)

    def entries(self, begin: int | None = None) -> Iterator[Entry]:
        for number, key in islice(enumerate(self.files), begin or 0, None):
            yield Entry(key, None, number, partial(self._read, key))

    def sample(self, count: int) -> list[tuple[str, Picture | Exception]]:
        places = np.unique(np.linspace(0, len(self) - 1, min(count, len(self))).astype(int)).tolist()
        keys = list(self.files)
        return [(keys[place], attempt(partial(self._read, keys[place]))) for place in places]

    def _read(self, key: str) -> Picture:
        mine, other = self.files[key][self.side], self.files[key][1 - self.side]
        data = self.store.read(mine)
        if mine == other:
            pixels = read_picture(data)
            if pixels.shape[1] % 2:
                raise ValueError(f"its width of {pixels.shape[1]} px is odd, so it does not hold two halves")
            half = pixels.shape[1] // 2
            return np.ascontiguousarray(pixels[:, self.side * half : (self.side + 1) * half])
        try:
            read_picture(self.store.read(other))
        except (ValueError, OSError) as error:
            raise ValueError(f"its partner {other}: {error}") from error
        return data


def open_pairs(path: Path, labels: str, side: str) -> PairSource:
    """One side, "A" or "B", of the pairs in a folder or zip: the images of its two sub-folders, the first of which, in
    natural order, is A; or, without sub-folders, the left and right halves of its images.

    Raises:
        UserError: if there are no pairs, or two files of a side have one name.
    """
    if labels not in ("auto", "none"):
        raise UsageError(f"--labels {labels}: pairs have no labels; leave it out")
    store = open_store(path)
    found = survey(store)
    folders = sorted({file.rpartition("/")[0] for file in found.files}, key=natural)
    tops = _two_sides(path, folders)
    if not tops:
        files = {_stem(file): (file, file) for file in found.files}
        if not files:
            raise UserError(f"{path} has no images")
        if len(files) < len(found.files):
            raise UserError(f"{path} has images whose names differ in nothing but the suffix; rename them")
        return PairSource(f"pairs, {'left' if side == 'A' else 'right'} halves: {path.name}", store, files,
                          SIDES.index(side), found.remarks)
    by_side = [_by_key(path, top, found.files) for top in tops]
    both = [key for key in by_side[0] if key in by_side[1]]
    if not both:
        raise UserError(f"no image in {path / tops[0]} has the name of one in {path / tops[1]}; partners have the same "
                        "name, without the suffix")
    alone = [f"no partner for {shortened(f'{top}/{key}' for key in mine if key not in other)}"
             for top, mine, other in zip(tops, by_side, by_side[::-1]) if set(mine) - set(other)]
    return PairSource(f"pairs, {tops[SIDES.index(side)]}: {path.name}", store,
                      {key: (by_side[0][key], by_side[1][key]) for key in both}, SIDES.index(side),
                      (*found.remarks, *alone))


def _two_sides(path: Path, folders: list[str]) -> list[str]:
    """The two folders that hold the sides; none if all images are in one folder."""
    if len(folders) < 2:
        return []
    parts = [folder.split("/") for folder in folders]
    depth = next((n for n, names in enumerate(zip(*parts)) if len(set(names)) > 1), min(map(len, parts)))
    tops = list(dict.fromkeys("/".join(part[: depth + 1]) for part in parts))
    if len(tops) != 2 or any(len(part) <= depth for part in parts):
        raise UserError(f"{path} holds images in {shortened(tops)}, but pairs are in two folders, such as A and B, or "
                        "side by side in one; give a folder that holds nothing else")
    return tops


def _by_key(path: Path, top: str, files: list[str]) -> dict[str, str]:
    """Files below a folder by their path in it, without suffix."""
    found: dict[str, str] = {}
    for file in files:
        if file.startswith(f"{top}/"):
            key = _stem(file.removeprefix(f"{top}/"))
            if key in found:
                raise UserError(f"{path}: {found[key]} and {file} differ in nothing but the suffix; remove one of them")
            found[key] = file
    return dict(sorted(found.items(), key=lambda item: natural(item[0])))


def _stem(file: str) -> str:
    return PurePosixPath(file).with_suffix("").as_posix()
