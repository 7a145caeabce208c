"""The interface of image sources: their records, lazily, in a fixed order, from any place on."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np

from scalegan.data.manifest import LabelSchema
from scalegan.data.preparing.sources.shapes import Shape
from scalegan.data.preparing.sources.stores import Store

Label = int | np.ndarray | None
Place = int | tuple[int, str]
Picture = bytes | np.ndarray | Shape    # encoded, or uint8 pixels [H, W, C], or a file of a shape


class Entry(NamedTuple):
    """One record. Call `read` before taking the next entry; it raises ValueError or OSError."""

    key: str
    label: Label
    place: Place
    read: Callable[[], Picture]
    person: int | None = None       # number of who it shows, where that is known


class Source(Protocol):
    """Images and their labels. Sources are sent to worker processes, so they hold no open files.

    Attributes:
        remarks: what a user should know of it, such as files that were passed over; a phrase each.
    """

    name: str
    labels: LabelSchema
    remarks: tuple[str, ...]

    def __len__(self) -> int: ...

    def entries(self, begin: Place | None = None) -> Iterator[Entry]:
        """All records in order, or those from `begin` on."""

    def sample(self, count: int) -> list[tuple[str, Picture | Exception]]:
        """(key, picture or the error from reading it) for up to `count` representative records."""


@dataclass(frozen=True)
class Listed:
    """A source whose records are files of one store, all known by name.

    Args:
        table: labels in the order of `files`, int64 [N] or uint8 [N, K]; or None.
        people: the number of who each shows, int64 [N]; or None.
    """

    name: str
    store: Store
    files: list[str]
    labels: LabelSchema = field(default_factory=LabelSchema)
    table: np.ndarray | None = None
    remarks: tuple[str, ...] = ()
    people: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.files)

    def entries(self, begin: Place | None = None) -> Iterator[Entry]:
        for number in range(begin or 0, len(self.files)):
            yield self.entry(number)

    def entry(self, number: int) -> Entry:
        file = self.files[number]
        person = None if self.people is None else int(self.people[number])
        return Entry(file, self._label(number), number, lambda: self.store.read(file), person)

    def _label(self, number: int) -> Label:
        if self.table is None:
            return None
        return int(self.table[number]) if self.table.ndim == 1 else self.table[number]

    def sample(self, count: int) -> list[tuple[str, Picture | Exception]]:
        places = np.unique(np.linspace(0, len(self.files) - 1, min(count, len(self.files))).astype(int))
        return [(entry.key, attempt(entry.read)) for entry in map(self.entry, places.tolist())]


def attempt(read: Callable[[], Picture]) -> Picture | Exception:
    """The picture, or the error from reading it, as a value."""
    try:
        return read()
    except (ValueError, OSError) as error:
        return error
