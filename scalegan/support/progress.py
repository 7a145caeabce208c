"""A progress bar with images/s and time left; without a terminal, a line every 20 seconds."""

import sys
import time
from collections.abc import Callable
from contextvars import ContextVar
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_LINE_SECONDS = 20
#: Told what is being done, how much is done, and of how much, wherever progress is shown elsewhere than in a terminal.
watcher: ContextVar[Callable[[str, int, int], None] | None] = ContextVar("watcher", default=None)


def duration(seconds: float) -> str:
    """Such as 90 s, 12.5 min, 3.2 h, 4.0 d."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


class Bar:
    """Counts up to `total`, on stderr.

    Args:
        done: progress of an earlier call; it does not count towards the speed.
    """

    def __init__(self, what: str, total: int, done: int = 0, unit: str = "images") -> None:
        self.what, self.total, self.done, self.unit, self.initial = what, total, done, unit, done
        self.start = self.last_line = time.monotonic()
        self.progress = None
        if sys.stderr.isatty():
            self.progress = Progress(
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[speed]}"),
                TimeRemainingColumn(), TextColumn("{task.fields[note]}"), console=Console(stderr=True),
                redirect_stdout=sys.stdout.isatty())        # what goes to a file or a pipe must not turn up here
            self.task = self.progress.add_task(what, total=total, completed=done, speed="", note="")

    def __enter__(self) -> "Bar":
        if self.progress is not None:
            self.progress.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.progress is not None:
            self.progress.stop()
        elif kind is None and self.done > self.initial:
            self._line("")

    def advance(self, count: int, note: str = "") -> None:
        self.done += count
        if watch := watcher.get():
            watch(self.what, self.done, self.total)
        if self.progress is not None:
            self.progress.update(self.task, advance=count, note=note, speed=self._rate())
        elif time.monotonic() - self.last_line > _LINE_SECONDS:
            self._line(note)

    @property
    def speed(self) -> float:
        return (self.done - self.initial) / max(time.monotonic() - self.start, 1e-3)

    def _rate(self) -> str:
        """Such as 120 images/s; empty before the first."""
        if self.done == self.initial:
            return ""
        return f"{self.speed:,.0f} {self.unit}/s" if self.speed >= 10 else f"{self.speed:.2g} {self.unit}/s"

    def _line(self, note: str) -> None:
        self.last_line = time.monotonic()
        rate, remaining = self._rate(), ""
        if rate and self.done < self.total:
            remaining = f"{duration((self.total - self.done) / self.speed)} left"
        print(f"{self.what}: " + ", ".join(filter(None, (f"{self.done:,} of {self.total:,}", rate, remaining, note))),
              file=sys.stderr, flush=True)
