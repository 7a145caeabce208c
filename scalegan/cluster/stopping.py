"""Stops a run: asks it to save, and waits until it has."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from scalegan.cluster import slurm
from scalegan.cluster.records import Job, local_trainer_pid, newest_checkpoint, read_job, trainer
from scalegan.errors import UserError

_POLL_SECONDS = 0.5


def stop(run: Path, timeout: float) -> str:
    """Stops a run and returns what happened, in a few words.

    Raises:
        UserError: if the run does not stop.
    """
    job = read_job(run)
    state = job and job.state()
    if job and state and job.executor == "slurm":
        return _stop_slurm(run, job, state, timeout)
    if job and state:
        os.kill(int(job.id), signal.SIGTERM)  # Submitit's controller passes it on to its tasks
        return _await(run, lambda: job.state() is None, timeout)
    owner = trainer(run)
    if not owner:
        return "is not running"
    process = local_trainer_pid(run)
    if process is None:
        raise UserError(f"{run} is in use by {owner}; stop it on that machine")
    os.kill(process, signal.SIGTERM)
    return _await(run, lambda: trainer(run) is None, timeout)


def _stop_slurm(run: Path, job: Job, state: str, timeout: float) -> str:
    if state == "PENDING":
        slurm.cancel(job.id)
        return f"job {job.id} was pending and has been cancelled"
    slurm.ask_to_stop(job.id)
    try:
        return f"job {job.id}: " + _await(run, lambda: job.state() in (None, "PENDING"), timeout)
    finally:
        slurm.cancel(job.id)  # including a job that was requeued in the meantime


def _await(run: Path, ended: Callable[[], bool], timeout: float) -> str:
    until = time.monotonic() + timeout
    while not ended():
        if time.monotonic() > until:
            raise UserError(f"{run} did not stop within {timeout:.0f} s")
        time.sleep(_POLL_SECONDS)
    newest = newest_checkpoint(run)
    return f"stopped at {newest[0]:,} images and saved" if newest else "stopped; no checkpoint was saved"
