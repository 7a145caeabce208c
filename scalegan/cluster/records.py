"""A job's files in the run folder, and which process is using the run. Never imports torch.

RUN/job/ holds `code` (this package, as it was submitted), `recipe.yaml` and `profile.yaml` (resolved), `job.json`
(the last submitted job), `history.jsonl` (one line per start, stop, failure and requeue) and `log/`.
"""

import fcntl
import json
import os
import socket
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, NotRequired

from pydantic import ConfigDict, Field, StrictStr
from typing_extensions import TypedDict

from scalegan.checkpoints.listing import newest_of
from scalegan.cluster import slurm
from scalegan.errors import UserError
from scalegan.support.caching import reason
from scalegan.support.files import append_line, open_own, write_whole
from scalegan.support.reading import DamagedFile, or_none, read_json, read_json_lines

_OWNER_CHARACTERS = 1000
_LEASE_SECONDS = 15.0  # a live trainer renews it several times within this period


_Count = Annotated[int, Field(strict=True, ge=0, le=10**15)]


class Event(TypedDict):
    """A line of the history."""

    __pydantic_config__ = ConfigDict(extra="allow")

    event: StrictStr
    job: StrictStr
    restart: _Count
    time: NotRequired[Annotated[float, Field(strict=True)]]
    signal: NotRequired[StrictStr]      # of `stopped`
    because: NotRequired[StrictStr]     # of `requeued`
    images: NotRequired[_Count]
    nodes: NotRequired[StrictStr]       # of `started`
    ranks: NotRequired[_Count]
    rank: NotRequired[_Count]           # of `failed`
    why: NotRequired[StrictStr]


_NEEDED = {"stopped": {"signal"}, "requeued": {"because", "images"}, "started": {"nodes"}, "failed": {"why"}}


@dataclass(frozen=True)
class Job:
    """The job that was last submitted for a run."""

    executor: StrictStr
    id: StrictStr
    log: StrictStr

    def whole_array(self) -> "Job":
        """The whole array that this job is an element of."""
        return replace(self, id=self.id.split("_")[0])

    def state(self) -> str | None:
        """SLURM's state (PENDING, RUNNING, ...), in capitals; None if the job has ended."""
        if self.executor == "slurm":
            return slurm.state(self.id)
        return "RUNNING" if self._is_process_alive() else None

    def _is_process_alive(self) -> bool:
        """The job ids of Submitit's local executor are the process ids of its controllers."""
        try:
            return b"submitit.local" in Path(f"/proc/{self.id}/cmdline").read_bytes()
        except OSError:
            return False


def job_folder(run: Path) -> Path:
    return run / "job"


def write_job(run: Path, job: Job) -> None:
    write_whole(job_folder(run) / "job.json", json.dumps(vars(job)))


def read_job(run: Path) -> Job | None:
    """The last submitted job, or None. Raises UserError if its file is damaged: it may be running."""
    try:
        return read_json(job_folder(run) / "job.json", Job)
    except FileNotFoundError:
        return None
    except DamagedFile as error:
        raise UserError(f"{error}; look for the run's job with squeue, stop it, and delete the file") from error


def note(run: Path, event: str, job: str, restart: int, **facts: Any) -> None:
    """Appends a line to the history, in a single write so that lines from several ranks do not mix."""
    line = json.dumps({"event": event, "job": job, "restart": restart, "time": round(time.time(), 3), **facts})
    append_line(job_folder(run) / "history.jsonl", line)


def history(run: Path, job: str | None = None) -> list[Event]:
    """The events in the history, of one job or of all. Lines that are incomplete or damaged are left out."""
    events = or_none(lambda: read_json_lines(job_folder(run) / "history.jsonl", Event)) or []
    return [event for event in events if job in (None, event["job"])
            and _NEEDED.get(event["event"], set()) <= event.keys()]


def newest_checkpoint(run: Path) -> tuple[int, float] | None:
    """Images and modification time of the newest complete checkpoint."""
    newest = newest_of(run / "checkpoints")
    return newest and (int(newest.name), (newest / "COMPLETE").stat().st_mtime)


def trainer(run: Path) -> str | None:
    """The process that holds the run's lock or, on another host, renews its lease (`process PID on HOST`), or None.

    Only looks at the lock: one that took it would be in the way of a run that starts at that moment, and could not look
    at runs of other people.
    """
    try:
        with open(open_own(run / ".lock", os.O_RDONLY), errors="replace") as file:
            if _is_locked(file.fileno()):
                return file.read(_OWNER_CHARACTERS).strip() or "another process"
        lease = run / ".lease"
        with open(open_own(lease, os.O_RDONLY), errors="replace") as file:
            owner = file.read(_OWNER_CHARACTERS).partition(",")[0]
        elsewhere = owner != "" and not owner.endswith(f" on {socket.gethostname()}")
        return owner if elsewhere and time.time() - lease.stat().st_mtime < _LEASE_SECONDS else None
    except OSError:
        return None


def _is_locked(descriptor: int) -> bool:
    """Whether another process has a POSIX lock on a file."""
    if sys.platform == "darwin":        # struct flock: start, length, process, type, whence
        asked = struct.pack("qqihh", 0, 0, 0, fcntl.F_WRLCK, os.SEEK_SET)
        return struct.unpack("qqihh", fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))[3] != fcntl.F_UNLCK
    asked = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)     # type, whence, start, length, process
    return struct.unpack("hhqqi4x", fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))[0] != fcntl.F_UNLCK


def local_trainer_pid(run: Path) -> int | None:
    """Id of the process that holds the run's lock, if it runs on this machine."""
    words = (trainer(run) or "").split()
    return int(words[1]) if len(words) == 4 and words[1].isdigit() and words[3] == socket.gethostname() else None


@contextmanager
def submission_lock(run: Path) -> Iterator[None]:
    """Keeps other submissions of the run out.

    Raises:
        UserError: if a job, a trainer or another submission is using the run.
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
            raise UserError(f"another `scalegan submit` is using {run}; wait until it is done") from None
        job = read_job(run)
        state = job and job.state()
        if state:
            raise UserError(f"{run} already has a job: {job.id}, {state.lower()}; stop it with `scalegan stop {run}`")
        owner = trainer(run)
        if owner:
            raise UserError(f"{run} is in use by {owner}; stop it with `scalegan stop {run}`")
        yield


