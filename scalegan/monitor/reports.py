"""A run's reports: the curves in metrics.jsonl, and what went wrong according to them."""

import contextlib
import json
import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scalegan.monitor.curves import Curve
from scalegan.monitor.figures import all_can_be_drawn, can_be_drawn, is_figure
from scalegan.support.files import open_own
from scalegan.support.reading import DamagedFile, parse_json

_BLOCK = 1 << 20
_LONGEST_LINE = 4 << 20
_MOST_FIGURES = 1000
_MOST_IMAGES = 10**15
_MOST_EVENTS = 500
_COUNTERS = ("skipped/", "overflows/")


class Reports:
    """The figures in metrics.jsonl, which may be growing; only lines that are new are read.

    Lines that are incomplete or damaged are left out, and so are values that are not finite.

    Attributes:
        curves: of each figure, over images.
        counted: (images, figure, increase) of the latest reports in which updates had been skipped.
        not_finite: the images at which a figure was first not finite.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._forget(None)

    def _forget(self, file: tuple[int, int] | None) -> None:
        self._file, self._offset = file, 0
        self.curves: dict[str, Curve] = {}
        self.counted: deque[tuple[int, str, int]] = deque(maxlen=_MOST_EVENTS)
        self.not_finite: dict[str, int] = {}
        self._counters: dict[str, int] = {}

    def refresh(self) -> None:
        """Reads what was added; all of it if the file was replaced, as by a run that went back to a checkpoint."""
        try:
            descriptor = open_own(self.path, os.O_RDONLY)
        except OSError:
            return self._forget(None)
        with open(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if (found.st_dev, found.st_ino) != self._file or found.st_size < self._offset:
                self._forget((found.st_dev, found.st_ino))
            file.seek(self._offset)
            rest = b""
            while block := file.read(_BLOCK):
                lines, newline, rest = (rest + block).rpartition(b"\n")
                if not newline and len(rest) > _LONGEST_LINE:
                    lines, rest = rest, b""
                self._offset += len(lines) + len(newline)
                self._add(lines.splitlines())
        return None

    def _add(self, lines: list[bytes]) -> None:
        columns: dict[str, tuple[list[int], list[Any]]] = {}
        for images, row in reports(lines):
            for key, value in row.items():
                column = columns.get(key)
                if column is None:
                    column = columns[key] = [], []
                column[0].append(images)
                column[1].append(value)
        columns.pop("images", None)
        for key, column in columns.items():
            xs, ys = self._drawn(key, *column)
            if key.startswith(_COUNTERS):
                for images, total in zip(xs, ys):
                    self._count(images, key, int(total))
            if xs and (key in self.curves or len(self.curves) < _MOST_FIGURES):
                self.curves.setdefault(key, Curve()).extend(xs, ys)

    def _drawn(self, key: str, xs: list[int], ys: list[Any]) -> tuple[list[int], list[float]]:
        """Those of a figure's values that can be drawn."""
        if all_can_be_drawn(ys):
            return xs, ys
        for x, y in zip(xs, ys):
            if is_figure(y) and not can_be_drawn(y) and (key in self.not_finite or len(self.not_finite) < _MOST_EVENTS):
                self.not_finite.setdefault(key, x)
        kept = [(x, y) for x, y in zip(xs, ys) if can_be_drawn(y)]
        return [x for x, _ in kept], [y for _, y in kept]

    def _count(self, images: int, key: str, total: int) -> None:
        before = self._counters.get(key, 0)
        if total > before:
            self.counted.append((images, key, total - before))
        self._counters[key] = total


def reports(lines: list[bytes]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Images and figures of each line that is a report."""
    for row in _rows(lines):
        images = row.get("images") if isinstance(row, dict) else None
        if type(images) is int and 0 <= images <= _MOST_IMAGES:
            yield images, row


def _rows(lines: list[bytes]) -> Iterator[Any]:
    """What the lines say, all at once where none is damaged, which takes half the time."""
    try:
        yield from json.loads(b"[" + b",".join(lines) + b"]")
    except (ValueError, RecursionError):
        for line in lines:
            with contextlib.suppress(DamagedFile):
                yield parse_json(line, "metrics.jsonl", finite=False)
