"""The status of a run, from its folder and its job."""

import re
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from scalegan.cluster.records import Job, history, job_folder, newest_checkpoint, read_job, trainer
from scalegan.errors import UserError
from scalegan.support.reading import or_none, parse_json, read_tail, read_text

COLUMNS = ("run", "state", "images", "images/s", "left", "checkpoint", "restarts", "nodes")
_TAIL_BYTES = 1 << 16


def runs_of(folder: Path) -> list[Path]:
    """The folder itself if it is a run folder, otherwise the run folders in it.

    Raises:
        UserError: if there are none.
    """
    if is_run(folder):
        return [folder]
    inside = sorted(path for path in folder.iterdir() if is_run(path)) if folder.is_dir() else []
    if not inside:
        raise UserError(f"{folder} is not a run folder and contains none")
    return inside


def named_runs(given: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """The runs that a command line names, and an error line for each path that names none.

    Raises:
        UserError: if the only path names none.
    """
    runs, problems = [], []
    for path in without_jobs(given):
        try:
            runs += runs_of(path)
        except UserError as error:
            if len(given) == 1:
                raise
            problems.append(str(error))
    return list(dict.fromkeys(runs)), problems


def without_jobs(given: Sequence[Path]) -> list[Path]:
    """The paths except for a sweep's own folder `job`, which `runs/sweep/*` matches along with its runs."""
    def of_a_job(folder: Path) -> bool:
        return folder.name == "job" and any(folder.glob("runs-*")) and not is_run(folder)

    return [path for path in given if len(given) == 1 or not of_a_job(path)]


def describe(run: Path) -> dict[str, Any]:
    """The status of a run; figures that are not known yet are None.

    Raises:
        UserError: if it is not known whether the run's job is alive.
    """
    job = read_job(run)
    return described(run, job, job and job.state())


def described(run: Path, job: Job | None, job_state: str | None) -> dict[str, Any]:
    """The same of a run whose job and its state, in capitals, are known; None for none."""
    events, last = history(run), _last_report(run)
    events = [event for event in events if job and event["job"].split("_")[0] == job.id.split("_")[0]]
    checkpoint, total = newest_checkpoint(run), _total_images(run)
    images = max(last.get("images", 0), checkpoint[0] if checkpoint else 0)
    state = job_state.lower() if job_state else _state(run, events, images, total)
    starts = [event for event in events if event["event"] == "started"]
    rate = last.get("images_per_second") if state == "running" else None
    return {
        "run": str(run), "state": state, "images": images, "total_images": total, "images_per_second": rate,
        "seconds_left": round(max(total - images, 0) / rate) if rate and total else None,
        "checkpoint": checkpoint and checkpoint[0],
        "checkpoint_age_seconds": checkpoint and round(time.time() - checkpoint[1]),
        "restarts": max((event["restart"] for event in starts), default=0), "job": job and job.id,
        "nodes": starts[-1]["nodes"] if starts and state in ("running", "completing") else None,
        "why": events[-1]["why"] if events and events[-1]["event"] == "failed" else None}


def is_run(folder: Path) -> bool:
    """Whether a folder holds a run, or one that is still to begin."""
    return (folder / "config.yaml").exists() or (job_folder(folder) / "job.json").exists()


def _state(run: Path, events: list[dict[str, Any]], images: int, total: int | None) -> str:
    """Whether a run without a job is training, or how it ended."""
    if trainer(run):
        return "running"
    ends = [event["event"] for event in events if event["event"] in ("failed", "stopped", "finished")]
    if (total and images >= total) or ends[-1:] == ["finished"]:
        return "finished"
    return ends[-1] if ends else "not running"


class _Report(TypedDict):
    """The fields that are read from a line of metrics.jsonl."""

    images: Annotated[int, Field(strict=True, ge=0, le=10**15)]
    images_per_second: NotRequired[Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]]


def _last_report(run: Path) -> dict[str, Any]:
    """Images and speed of the last lines of metrics.jsonl that are complete and undamaged, among the last few. The
    line of an evaluation has no speed."""
    last: dict[str, Any] = {}
    for line in reversed(read_tail(run / "metrics.jsonl", _TAIL_BYTES)):
        report = or_none(partial(parse_json, line, "metrics.jsonl", _Report, finite=False))
        if report is not None:
            last = {**report, **last}
        if "images_per_second" in last:
            break
    return last


def _total_images(run: Path) -> int | None:
    """`total_images` of the recipe that was resolved last. We write one key per line, so a regular expression will do;
    a YAML parser would take some ten milliseconds for each of hundreds of runs."""
    recipes = [path for path in (*run.glob("config*.yaml"), job_folder(run) / "recipe.yaml") if path.is_file()]
    if not recipes:
        return None
    newest = max(recipes, key=lambda path: path.stat().st_mtime)
    text = or_none(lambda: read_text(newest)) or ""
    found = re.search(r"^total_images: ([0-9]{1,15})$", text, re.MULTILINE)
    return int(found[1]) if found else None
