"""What a store holds beside its images, so that nothing is left out of a set in silence."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from scalegan.data.preparing.sources.stores import Store, images_among, is_hidden
from scalegan.errors import UserError

# Files that belong to a dataset in a known layout, or that systems leave behind.
_EXPECTED = re.compile(r"dataset\.json|thumbs\.db|desktop\.ini|(list_\w+|identity_celeba)\.(txt|csv)", re.IGNORECASE)
_NOTES = {".txt", ".json", ".xml", ".csv", ".yaml", ".yml", ".caption", ".md"}      # may lie beside every image
_SPLIT = re.compile(r"(?P<name>train|training|val|valid|validation|test|testing|dev|eval|holdout)"
                    r"([-_. ]?(set|data|split|images?|imgs?|\d+))*", re.IGNORECASE)
_SAMPLE = re.compile(r"(seed|latent)[0-9]{6,}\.png")
_LISTED = 5


class Survey(NamedTuple):
    """The image files of a store in natural order, a phrase about the other files, and the folders without images."""

    files: list[str]
    passed_over: str
    empty: list[str]

    @property
    def remarks(self) -> tuple[str, ...]:
        return tuple(filter(None, (self.passed_over, self.empty and f"no images in {shortened(self.empty)}")))


def survey(store: Store) -> Survey:
    """Lists the images of a store, and counts what is passed over.

    Raises:
        UserError: if most of its files would be passed over: they are hardly there by mistake.
    """
    return _surveyed(store, strict=True)


def counted(store: Store) -> Survey:
    """The same, however much is passed over, for commands that answer one photo at a time."""
    return _surveyed(store, strict=False)


def _surveyed(store: Store, strict: bool) -> Survey:
    names, folders = store.listing()
    files = without_sheets(images_among(store, names))
    stems, taken = {_stem(file) for file in files}, set(files)
    others = [name for name in names
              if name not in taken and not is_hidden(name) and not _EXPECTED.fullmatch(PurePosixPath(name).name)]
    counts = Counter(PurePosixPath(name).suffix.lower() or "without suffix" for name in others)
    unnamed = {PurePosixPath(name).suffix.lower() for name in others if _stem(name) not in stems}
    unexplained = sum(count for suffix, count in counts.items() if suffix not in _NOTES - unnamed)
    passed = f"passed over {len(others):,} file{'s' * (len(others) > 1)} ({_listed(counts)})" if others else ""
    if strict and files and unexplained > len(files):
        raise UserError(f"{store.path} has {len(files):,} images, and most of its files would be left out: {passed}; "
                        "convert those that are pictures to JPEG, PNG or WebP, and move the others elsewhere")
    return Survey(files, passed, without_images(folders, files))


def without_sheets(files: Sequence[str]) -> list[str]:
    """Leaves out each grid.png that `scalegan sample` wrote beside the samples that it shows."""
    paths = [PurePosixPath(file) for file in files]
    of_samples = {path.parent for path in paths if _SAMPLE.fullmatch(path.name)}
    return [file for file, path in zip(files, paths) if path.name != "grid.png" or path.parent not in of_samples]


def without_images(folders: Iterable[str], files: Iterable[str]) -> list[str]:
    """The topmost folders that hold no image at any depth."""
    filled = {parent.as_posix() for file in files for parent in PurePosixPath(file).parents}
    return sorted(folder for folder in folders if folder not in filled and not is_hidden(folder)
                  and PurePosixPath(folder).parent.as_posix() in filled)


def are_splits(names: Iterable[str]) -> bool:
    """Whether folders called so are parts for training and testing, rather than classes."""
    found = [match["name"].lower() for name in names if (match := _SPLIT.fullmatch(name))]
    return len(found) > 1


def shortened(names: Iterable[str]) -> str:
    """'a, b, c, d, e and 3 more'."""
    names = list(names)
    return ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else "")


def _stem(name: str) -> str:
    return name[: len(name) - len(PurePosixPath(name).suffix)]


def _listed(counts: Counter[str]) -> str:
    most_first = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    return shortened(f"{count:,} {suffix}" for suffix, count in most_first)
