"""What a job leaves in its run's folder, and who is at work there. Never imports torch.

RUN/job/ holds `code` (this package, as it was submitted), `recipe.yaml` and `profile.yaml` (resolved), `job.json`
(which job), `history.jsonl` (a line per start, stop, failure and requeue) and `log/`.
"""

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scalegan.cluster import slurm
from scalegan.errors import UserError
from scalegan.support.caching import reason
from scalegan.support.files import append_line, open_own, write_whole

_OWNER_CHARACTERS = 1000
_LEASE_SECONDS = 15.0  # a living trainer renews it several times meanwhile


@dataclass(frozen=True)
class Job:
    """The job that was submitted last for a run."""

    executor: str
    id: str
    log: str

    def whole_array(self) -> "Job":
        """All elements of the array that this one is of."""
        return replace(self, id=self.id.split("_")[0])

    def state(self) -> str | None:
        """SLURM's word for it (PENDING, RUNNING, ...), in capitals; None where it has ended."""
        if self.executor == "slurm":
            return slurm.state(self.id)
        return "RUNNING" if self._process_lives() else None

    def _process_lives(self) -> bool:
        """Job ids of Submitit's local executor are process ids of its controller."""
        try:
            return b"submitit.local" in Path(f"/proc/{self.id}/cmdline").read_bytes()
        except OSError:
            return False


def job_folder(run: Path) -> Path:
    return run / "job"


def write_job(run: Path, job: Job) -> None:
    write_whole(job_folder(run) / "job.json", json.dumps(vars(job)))


def read_job(run: Path) -> Job | None:
    try:
        return Job(**json.loads((job_folder(run) / "job.json").read_text()))
    except FileNotFoundError:
        return None


def note(run: Path, event: str, job: str, restart: int, **facts: Any) -> None:
    """Adds a line to the history. One write: lines of several ranks do not mix."""
    line = json.dumps({"event": event, "job": job, "restart": restart, "time": round(time.time(), 3), **facts})
    append_line(job_folder(run) / "history.jsonl", line)


def history(run: Path, job: str | None = None) -> list[dict[str, Any]]:
    """The history's lines, of one job or of all."""
    try:
        lines = (job_folder(run) / "history.jsonl").read_text().splitlines()
    except FileNotFoundError:
        return []
    return [event for event in map(json.loads, lines) if job in (None, event["job"])]


def newest_checkpoint(run: Path) -> tuple[int, float] | None:
    """Images and time of the newest complete checkpoint."""
    seals = [path for path in run.glob("checkpoints/*/COMPLETE") if path.parent.name.isdigit()]
    if not seals:
        return None
    newest = max(seals, key=lambda path: int(path.parent.name))
    return int(newest.parent.name), newest.stat().st_mtime


def trainer(run: Path) -> str | None:
    """Who holds the run's lock (`process PID on HOST`), or, on another host, renews its lease; or None."""
    try:
        with open(open_own(run / ".lock", os.O_RDWR), "r+", errors="replace") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return file.read(_OWNER_CHARACTERS).strip() or "another process"
        lease = run / ".lease"
        with open(open_own(lease, os.O_RDONLY), errors="replace") as file:
            owner = file.read(_OWNER_CHARACTERS).partition(",")[0]
        elsewhere = not owner.endswith(f" on {socket.gethostname()}")
        return owner if elsewhere and time.time() - lease.stat().st_mtime < _LEASE_SECONDS else None
    except OSError:
        return None


def trainer_here(run: Path) -> int | None:
    """The process that holds the run's lock, where it is on this machine."""
    words = (trainer(run) or "").split()
    return int(words[1]) if len(words) == 4 and words[1].isdigit() and words[3] == socket.gethostname() else None


@contextmanager
def claimed(run: Path) -> Iterator[None]:
    """Keeps other submissions of the run away.

    Raises:
        UserError: where a job or a trainer is at work in it, or another submission.
    """
    folder = job_folder(run)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = open_own(folder / ".lock", os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {reason(error)}") from error
    with open(descriptor, "rb") as lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"another `scalegan submit` is at work on {run}") from None
        job = read_job(run)
        state = job and job.state()
        if state:
            raise UserError(f"{run} has a job already: {job.id}, {state.lower()}; `scalegan stop {run}` ends it")
        owner = trainer(run)
        if owner:
            raise UserError(f"{run} is in use by {owner}; `scalegan stop {run}` ends it")
        yield


