"""A run's reports: the curves in metrics.jsonl, and what went wrong according to them."""

import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scalegan.monitor.curves import Curve
from scalegan.monitor.figures import can_be_drawn, is_figure
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
        found: dict[str, tuple[list[int], list[float]]] = {}
        for images, row in reports(lines):
            for key, value in row.items():
                if key == "images" or not is_figure(value) or (len(self.curves) >= _MOST_FIGURES
                                                              and key not in self.curves):
                    continue
                if not can_be_drawn(value):
                    self.not_finite.setdefault(key, images)
                    continue
                if key.startswith(_COUNTERS):
                    self._count(images, key, int(value))
                xs, ys = found.setdefault(key, ([], []))
                xs.append(images)
                ys.append(value)
        for key, points in found.items():
            self.curves.setdefault(key, Curve()).extend(*points)

    def _count(self, images: int, key: str, total: int) -> None:
        before = self._counters.get(key, 0)
        if total > before:
            self.counted.append((images, key, total - before))
        self._counters[key] = total


def reports(lines: list[bytes]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Images and figures of each line that is a report."""
    for line in lines:
        try:
            row = parse_json(line, "metrics.jsonl", finite=False)
        except DamagedFile:
            continue
        images = row.get("images")
        if type(images) is int and 0 <= images <= _MOST_IMAGES:
            yield images, row
