"""The runs below some folders, as they come, change and go."""

import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from scalegan.cluster.job_states import JobStates
from scalegan.cluster.status import is_run
from scalegan.monitor.comparison import compared
from scalegan.monitor.run import Run, names

_EVERY_SECONDS = 2.0
_DEEPEST = 3
_MOST_FOLDERS = 5000
_MOST_RUNS = 2000


class Watch:
    """Runs, and folders in which runs are looked for, again and again. Safe to share between threads.

    Args:
        given: run folders, and folders of runs or of such folders.
    """

    def __init__(self, given: Sequence[Path]) -> None:
        self.given = given
        self.runs: dict[str, Run] = {}
        self._jobs = JobStates()
        self._lock = threading.Lock()
        self._looked = float("-inf")
        self._version = int(time.time() * 1000)     # larger than any of an earlier server
        self._rows: dict[str, tuple[int, dict[str, Any]]] = {}

    def changes(self, since: int = 0) -> dict[str, Any]:
        """Rows of the runs that changed after version `since`, and the ids of all, for JSON."""
        with self._lock:
            if time.monotonic() - self._looked > _EVERY_SECONDS:
                self._look()
                self._looked = time.monotonic()
            return {"version": self._version, "order": list(self._rows), "now": time.time(),
                    "runs": [row for version, row in self._rows.values() if version > since]}

    def details(self, identity: str) -> dict[str, Any]:
        """Raises KeyError if there is no such run."""
        run = self.runs[identity]
        with run.lock:
            return run.details()

    def compared(self, identities: Sequence[str]) -> dict[str, Any]:
        """What tells these runs apart; those that are gone are left out."""
        runs = self.runs
        return compared([runs[one] for one in identities if one in runs])

    def _look(self) -> None:
        paths = list(_found(self.given))[:_MOST_RUNS]
        known = {run.path: run for run in self.runs.values()}
        runs = [known.get(path) or Run(path, "") for path in paths]
        for run, name in zip(runs, names(paths)):
            run.name = name
        self._jobs.look([run.job() for run in runs])
        self.runs, before = {run.id: run for run in runs}, self._rows
        self._rows = {}
        version = self._version + 1
        for run in runs:
            try:
                row = run.row(self._jobs)
            except OSError:
                continue
            same = run.id in before and before[run.id][1] == row
            self._rows[run.id] = before[run.id] if same else (version, row)
        if before != self._rows:
            self._version = version


def _found(given: Sequence[Path]) -> Iterator[Path]:
    """Run folders, in order; not those within others, nor through links within what is given."""
    seen: set[Path] = set()
    waiting = [(path, 0) for path in reversed(given)]
    looked = 0
    while waiting and looked < _MOST_FOLDERS:
        path, depth = waiting.pop()
        looked += 1
        try:
            found = is_run(path)
        except OSError:
            continue
        if found:
            if path not in seen:
                seen.add(path)
                yield path
        elif depth < _DEEPEST:
            try:
                with os.scandir(path) as entries:
                    inner = sorted(entry.name for entry in entries if not entry.name.startswith(".")
                                   and entry.is_dir(follow_symlinks=depth == 0))
            except OSError:
                continue
            waiting += [(path / name, depth + 1) for name in reversed(inner)]
