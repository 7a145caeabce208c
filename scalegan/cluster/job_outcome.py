"""Requeues or ends a SLURM job whose tasks have ended. Its batch script runs this once, on the first node.

    python -m scalegan.cluster.job_outcome RUN EXIT_CODE_OF_SRUN

The job ends with the tasks' exit code if the run finished, was stopped by SIGTERM (scancel, `scalegan stop`, or a
preemption, after which SLURM itself requeues), or failed with an error that a rank reported. If SIGUSR2 announced the
time limit, or ranks vanished without reporting an error, the same job is requeued, as often as its profile allows.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from scalegan.cluster import profiles as profiles
from scalegan.cluster import slurm
from scalegan.cluster.profiles import Profile
from scalegan.cluster.records import history, job_folder, newest_checkpoint, note
from scalegan.errors import UserError

_KILLED_BY_SIGUSR2 = 128 + signal.SIGUSR2  # a task that did not handle the signal yet
_EARLY_SECONDS = 90  # SLURM sends the time limit's signal up to a minute early


def main(run: Path, code: int) -> int:
    job, restart = _job_id(), int(os.environ.get("SLURM_RESTART_COUNT", 0))
    profile = profiles.load(str(job_folder(run) / "profile.yaml"), [])
    events = history(run, job)
    because = cause(code, [event for event in events if event["restart"] == restart],
                    lambda: slurm.seconds_left(job) <= profile.signal_seconds + _EARLY_SECONDS)
    if because is None:
        return code
    images = (newest_checkpoint(run) or (0, 0.0))[0]
    refusal = exhausted(because, events, profile, images)
    if refusal:
        print(f"scalegan: not requeueing job {job}: {refusal}", flush=True)
        return code
    note(run, "requeued", job, restart, because=because, images=images)
    print(f"scalegan: requeueing job {job} ({because}) at {images:,} images", flush=True)
    slurm.requeue(job)
    return code


def cause(code: int, events: list[dict[str, Any]], out_of_time: Any) -> str | None:
    """Why the job should be requeued (`timed out`, `preempted`, `lost ranks`), or None if it should not.

    Args:
        code: srun's exit code.
        events: the events since the job last started.
        out_of_time: function that returns whether the job's time limit is near.
    """
    if code == 0 or any(event["event"] in ("failed", "finished") for event in events):
        return None
    stops = [event["signal"] for event in events if event["event"] == "stopped"]
    if not stops and code != _KILLED_BY_SIGUSR2:
        return "lost ranks"
    if stops and stops[-1] != "SIGUSR2":
        return None
    return "timed out" if out_of_time() else "preempted"  # some clusters use the same signal for preemptions


def exhausted(because: str, events: list[dict[str, Any]], profile: Profile, images: int) -> str | None:
    """Why the job may not be requeued again, or None. Preemptions are counted when the job starts."""
    before = [event for event in events if event["event"] == "requeued"]
    if because == "timed out" and profile.max_timeouts is not None:
        count = sum(event["because"] == because for event in before)
        if count >= profile.max_timeouts:
            return (f"it has timed out {count + 1} times (max_timeouts={profile.max_timeouts}); submit the run again "
                    "to continue")
    if because == "lost ranks":
        count = sum(event["because"] == because and event["images"] == images for event in before)
        if count >= profile.max_failures:
            return (f"ranks have vanished {count + 1} times without a new checkpoint "
                    f"(max_failures={profile.max_failures}); see the job's log")
    return None


def _job_id() -> str:
    """The job's id, as Submitit and squeue write it."""
    if "SLURM_ARRAY_TASK_ID" in os.environ:
        return f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return os.environ["SLURM_JOB_ID"]


if __name__ == "__main__":
    try:
        sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
    except UserError as error:
        print(f"scalegan: error: {error}", file=sys.stderr)
        sys.exit(int(sys.argv[2]) or 1)
