"""A run as the page shows it, read from its folder alone; what has not changed is not read again."""

import contextlib
import hashlib
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from scalegan.cluster.job_states import JobStates
from scalegan.cluster.records import Job, read_job, trainer
from scalegan.cluster.status import described
from scalegan.errors import UserError
from scalegan.metrics import results
from scalegan.monitor.events import events, rollbacks
from scalegan.monitor.figures import can_be_drawn, flattened
from scalegan.monitor.reports import Reports, reports
from scalegan.support.reading import or_none, read_tail
from scalegan.support.yaml_files import read_keys

_WATCHED = ("", "metrics.jsonl", "evaluations.jsonl", "rollbacks.json", "samples", "checkpoints", "last_phase",
            "job/job.json", "job/history.jsonl")
_RECIPE = re.compile(r"config(?:\.([0-9]{1,15}))?\.yaml")
_PICTURE = re.compile(r"[0-9]{1,15}\.png")
_MOST_PICTURES = 5000
_LAST_REPORTS = 4       # an evaluation has a line of its own
_TAIL_BYTES = 1 << 16


class Run:
    """A run folder.

    Args:
        path: the folder.
        name: what the page calls it.

    Attributes:
        id: names it in addresses; the same as long as its path is.
        lock: for those who read it in several threads.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name
        self.id = hashlib.sha256(os.fsencode(path.absolute())).hexdigest()[:12]
        self.lock = threading.Lock()
        self._reports = Reports(path / "metrics.jsonl")
        self._kept: dict[str, tuple[object, Any]] = {}

    @property
    def recipe(self) -> dict[str, Any]:
        """The recipe with which the run last began; empty if it cannot be read."""
        try:
            return self.checked_recipe()
        except UserError:
            return {}

    def checked_recipe(self) -> dict[str, Any]:
        """The same.

        Raises:
            UserError: if it cannot be read.
        """
        found = {int(match[1] or -1): name for name, _ in _files(self.path) if (match := _RECIPE.fullmatch(name))}
        if not found:
            raise UserError(f"{self.path} is not a run folder: it has no config.yaml")
        return self._unless_changed(found[max(found)], read_keys)

    @property
    def evaluations(self) -> list[dict[str, Any]]:
        """Oldest first."""
        def read(path: Path) -> list[dict[str, Any]]:
            return (or_none(lambda: results.read(path.parent)) if self._holds(path) else None) or []
        return self._unless_changed(results.FILE, read)

    @property
    def pictures(self) -> list[tuple[int, int]]:
        """(images, time of writing in ms) of the sample grids, oldest first."""
        return self._unless_changed("samples", lambda path: sorted(
            (int(name[:-4]), changed) for name, changed in self._grids())[-_MOST_PICTURES:])

    def picture(self, images: int) -> Path | None:
        """The file of a sample grid."""
        return next((self.path / "samples" / name for name, _ in self._grids() if int(name[:-4]) == images), None)

    def job(self) -> Job | None:
        """The job that was last submitted for it, if it can be read."""
        try:
            return self._job()
        except UserError:
            return None

    def _job(self) -> Job | None:
        return self._unless_changed("job/job.json", lambda _: read_job(self.path))

    def row(self, jobs: JobStates) -> dict[str, Any]:
        """What the table of runs shows.

        Raises:
            OSError: if the run is being removed, or may not be read.
        """
        job, job_state, problem = None, None, None
        try:
            job = self._job()
            job_state = job and jobs.state(job)
        except UserError as error:
            problem = str(error)
        files = [_state(self.path / name) for name in _WATCHED]
        seen = self.name, files, job_state, problem, trainer(self.path)
        return self._unless_changed("", lambda _: self._read_row(job, job_state, problem), seen)

    def _read_row(self, job: Job | None, job_state: str | None, problem: str | None) -> dict[str, Any]:
        found = described(self.path, job, job_state)
        pictures, figures = self.pictures, _last_figures(self.path / "metrics.jsonl")
        plain = [result for result in self.evaluations if results.drawn_from(result) == results.MAIN]
        for result in plain[-1:]:
            figures |= {f"eval/{key}": value for key, value in flattened(result["metrics"]).items()}
        updated = _state(self.path / "metrics.jsonl")
        return {
            "id": self.id, "name": self.name, "path": str(self.path.absolute()), "total": found["total_images"],
            "state": "unknown" if problem and found["state"] not in ("running", "finished") else found["state"],
            "why": problem or found["why"], "images": found["images"], "rate": found["images_per_second"],
            "left": found["seconds_left"], "checkpoint": found["checkpoint"], "restarts": found["restarts"],
            "job": found["job"], "nodes": found["nodes"], "updated": updated and updated[0] // 10**9,
            "picture": pictures[-1] if pictures else None, "figures": figures, "rollbacks": len(rollbacks(self.path)),
            "skipped": sum(int(value) for key, value in figures.items() if key.startswith("skipped/"))}

    def details(self) -> dict[str, Any]:
        """Its curves, events and pictures, for JSON."""
        self._reports.refresh()
        curves = {key: curve.thinned() for key, curve in self._reports.curves.items()}
        return {"curves": {key: [xs, [float(f"{y:.6g}") for y in ys]] for key, (xs, ys) in curves.items()},
                "events": events(self.path, self._reports), "pictures": self.pictures}

    def _grids(self) -> Iterator[tuple[str, int]]:
        folder = self.path / "samples"
        return ((name, changed) for name, changed in (_files(folder) if self._holds(folder) else ())
                if _PICTURE.fullmatch(name))

    def _holds(self, path: Path) -> bool:
        """Whether a path is in the folder, also after its links were followed."""
        return path.resolve().is_relative_to(self.path.resolve())

    def _unless_changed(self, name: str, read: Callable[[Path], Any], seen: object = None) -> Any:
        """What `read` makes of a file, or made of it when its state, `seen`, was the same."""
        seen = seen or _state(self.path / name)
        if name not in self._kept or self._kept[name][0] != seen:
            self._kept[name] = seen, read(self.path / name)
        return self._kept[name][1]


def names(paths: Sequence[Path]) -> list[str]:
    """The folders' names if they are all different, else the paths, without what all have in common."""
    own = [path.resolve().name for path in paths]
    if len(set(own)) == len(own):
        return own
    shared = Path(os.path.commonpath([path.absolute() for path in paths]))
    return [str(path.absolute().relative_to(shared)) for path in paths]


def _last_figures(path: Path) -> dict[str, float]:
    """The newest value of each figure in the last few lines that are finite."""
    rows = reversed([row for _, row in reports(read_tail(path, _TAIL_BYTES)[-_LAST_REPORTS:])])
    found: dict[str, float] = {}
    for row in rows:
        found = {**{key: value for key, value in row.items() if can_be_drawn(value)}, **found}
    return {key: value for key, value in found.items() if key not in ("images", "seconds")}


def _files(folder: Path) -> Iterator[tuple[str, int]]:
    """Name and time of writing, in ms, of each file in a folder that is not a link."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_file(follow_symlinks=False):
                yield entry.name, entry.stat(follow_symlinks=False).st_mtime_ns // 10**6


def _state(path: Path) -> tuple[int, ...] | None:
    """What changes with a file or folder; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev
