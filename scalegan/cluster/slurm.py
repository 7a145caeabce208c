"""SLURM's commands, as far as we need them."""

import subprocess

from scalegan.errors import UserError


def state(job: str) -> str | None:
    """PENDING, RUNNING, COMPLETING, ...; None for a job that has ended or that SLURM does not know any more.

    Raises:
        UserError: where SLURM does not answer, so that nobody takes a live job for a dead one.
    """
    asked = _run("squeue", "--noheader", "--jobs", job, "--format=%T")
    if asked.returncode:
        if "Invalid job id" in asked.stderr:
            return None
        raise UserError(f"SLURM does not say whether job {job} lives: {asked.stderr.strip()}")
    return asked.stdout.split()[0] if asked.stdout.split() else None


def nodes(job: str) -> str:
    """The job's nodes, such as node[1-4]; empty while it has none."""
    return _run("squeue", "--noheader", "--jobs", job, "--format=%N").stdout.strip()


def seconds_left(job: str) -> float:
    """Until the job's time limit; 0 past it."""
    text = _run("squeue", "--noheader", "--jobs", job, "--format=%L").stdout.strip()
    days, _, clock = text.rpartition("-")
    parts = clock.split(":")
    if not all(part.isdigit() for part in parts):
        return 0.0 if text == "INVALID" else float("inf")
    return int(days or 0) * 86400 + sum(int(part) * 60**power for power, part in enumerate(reversed(parts)))


def requeue(job: str) -> None:
    """Ends the job and puts it back into the queue, under the same id."""
    asked = _run("scontrol", "requeue", job)
    if asked.returncode:
        raise UserError(f"SLURM does not requeue job {job}: {asked.stderr.strip()}")


def ask_to_stop(job: str) -> None:
    """SIGTERM to the tasks, not to the batch script."""
    _run("scancel", "--signal=TERM", job)


def cancel(job: str) -> None:
    """Ends the job for good."""
    asked = _run("scancel", job)
    if asked.returncode and "Invalid job id" not in asked.stderr:
        raise UserError(f"SLURM does not cancel job {job}: {asked.stderr.strip()}")


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60)
    except FileNotFoundError:
        raise UserError(f"there is no {command[0]} here; SLURM's commands are needed") from None
    except subprocess.TimeoutExpired:
        raise UserError(f"{command[0]} did not answer within a minute") from None
