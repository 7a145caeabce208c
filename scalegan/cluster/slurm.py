"""The SLURM commands that we use."""

import re
import subprocess
from collections.abc import Collection

from scalegan.errors import UserError, one_line


def state(job: str) -> str | None:
    """PENDING, RUNNING, COMPLETING, ...; None for a job that has ended or that SLURM no longer knows.

    Raises:
        UserError: if SLURM does not answer, so that a live job is never mistaken for a dead one.
    """
    result = _run("squeue", "--noheader", "--jobs", _id(job), "--format=%T")
    if result.returncode:
        if "Invalid job id" in result.stderr:
            return None
        raise UserError(f"squeue cannot tell whether job {job} is still alive: {result.stderr.strip()}")
    return result.stdout.split()[0] if result.stdout.split() else None


def states(jobs: Collection[str]) -> dict[str, str]:
    """The same of many jobs in one question, by job; those that have ended are missing.

    Raises:
        UserError: if SLURM does not answer.
    """
    if len(jobs) == 1:      # of several, squeue leaves out those that it no longer knows
        job, = jobs
        found = state(job)
        return {job: found} if found else {}
    if not jobs:
        return {}
    result = _run("squeue", "--noheader", "--array", "--jobs", ",".join(map(_id, jobs)), "--format=%i %F %T")
    if result.returncode:
        raise UserError(f"squeue cannot tell which jobs are still alive: {result.stderr.strip()}")
    found = {}
    for line in result.stdout.splitlines():
        job, array, state_of = line.split()
        found[job] = state_of
        found.setdefault(array, state_of)       # of an array as a whole, the first element's
    return {job: found[job] for job in jobs if job in found}


def nodes(job: str) -> str:
    """The job's nodes, such as node[1-4]; empty if it has none yet."""
    return _run("squeue", "--noheader", "--jobs", _id(job), "--format=%N").stdout.strip()


def seconds_left(job: str) -> float:
    """Seconds until the job's time limit; 0 once it has passed, infinity if there is none."""
    text = _run("squeue", "--noheader", "--jobs", _id(job), "--format=%L").stdout.strip()
    days, _, clock = text.rpartition("-")
    parts = clock.split(":")
    if not all(part.isdigit() for part in parts):
        return 0.0 if text == "INVALID" else float("inf")
    return int(days or 0) * 86400 + sum(int(part) * 60**power for power, part in enumerate(reversed(parts)))


def requeue(job: str) -> None:
    """Ends the job and puts it back into the queue under the same id."""
    result = _run("scontrol", "requeue", _id(job))
    if result.returncode:
        raise UserError(f"scontrol cannot requeue job {job}: {result.stderr.strip()}")


def ask_to_stop(job: str) -> None:
    """Sends SIGTERM to the tasks, but not to the batch script."""
    _run("scancel", "--signal=TERM", _id(job))


def cancel(job: str) -> None:
    """Ends the job for good."""
    result = _run("scancel", _id(job))
    if result.returncode and "Invalid job id" not in result.stderr:
        raise UserError(f"scancel cannot cancel job {job}: {result.stderr.strip()}")


def is_id(job: str) -> bool:
    """Whether a text is the id of a job, or of an element of an array."""
    return re.fullmatch(r"[0-9]+(_[0-9]+)?", job) is not None


def _id(job: str) -> str:
    """The id itself. A run folder may be somebody else's, and scancel would take `--user=me` for an option."""
    if not is_id(job):
        raise UserError(f"'{one_line(job)}' in the run's job/job.json is not the id of a job; remove that file")
    return job


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60)
    except FileNotFoundError:
        raise UserError(f"{command[0]} not found; run this on a machine with SLURM's commands") from None
    except subprocess.TimeoutExpired:
        raise UserError(f"{command[0]} did not answer within 60 s; try again later") from None
