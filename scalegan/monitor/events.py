"""What happened to a run that its owner should know: rollbacks, skipped updates, failures, starts and ends."""

import os
import re
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NotRequired

from pydantic import Field, StrictStr
from typing_extensions import TypedDict

from scalegan.cluster.records import history
from scalegan.monitor.figures import can_be_drawn
from scalegan.monitor.reports import Reports
from scalegan.support.reading import or_none, read_json

_MOST = 500
_SMALL = 1 << 20
_ASIDE = re.compile(r"([0-9]{12,15})\.(damaged|abandoned)-[0-9a-f]+")
_RECIPE = re.compile(r"config\.([0-9]{1,15})\.yaml")
_Count = Annotated[int, Field(strict=True, ge=0, le=10**15)]
_Rollback = TypedDict("_Rollback", {"from": _Count, "to": _Count, "attempt": _Count})

Event = dict[str, Any]


class _LastPhase(TypedDict):
    """A file in last_phase/, which a rank leaves when another has died."""

    reason: StrictStr
    images: NotRequired[_Count]
    time: NotRequired[StrictStr]


def events(run: Path, reports: Reports) -> list[Event]:
    """The run's latest events, for JSON: `what` happened, how `bad` it is (0 to 2), at how many `images` or at which
    `time` (seconds since 1970) as far as known; in order of time, those without one by images, before the others."""
    found = [*_of_reports(reports), *_of_checkpoints(run), *_of_ranks(run), *_of_jobs(run)]
    found += [_event(2, f"rolled back to {row['to']:,} images; attempt {row['attempt']} goes on from there",
                     images=row["from"]) for row in rollbacks(run)]
    found.sort(key=lambda event: (event["time"] or 0, event["images"] or 0))
    return found[-_MOST:]


def rollbacks(run: Path) -> list[_Rollback]:
    return or_none(partial(read_json, run / "rollbacks.json", list[_Rollback], _SMALL)) or []


def _event(bad: int, what: str, images: int | None = None, time: float | None = None) -> Event:
    return {"bad": bad, "what": what, "images": images, "time": time}


def _of_reports(reports: Reports) -> Iterator[Event]:
    for images, key, count in reports.counted:
        kind, _, phase = key.partition("/")
        updates = f"{count:,} update{'s' * (count > 1)} of {phase}"
        if kind == "skipped":
            yield _event(1, f"{updates} skipped: a loss or gradient was not finite", images)
        else:
            yield _event(0, f"{updates} repeated with a smaller loss scale, as is usual in fp16", images)
    for key, images in reports.not_finite.items():
        yield _event(1, f"{key} was not finite for the first time", images)


def _of_checkpoints(run: Path) -> Iterator[Event]:
    """Checkpoints that were set aside, and recipes that changed on resuming."""
    for folder in (run / "checkpoints", run):
        try:
            names = os.listdir(folder)
        except OSError:
            continue
        for name in names:
            if aside := _ASIDE.fullmatch(name):
                yield _event(2 if aside[2] == "damaged" else 0, f"checkpoint set aside, as it is {aside[2]}: {name}",
                             int(aside[1]))
            elif changed := _RECIPE.fullmatch(name):
                yield _event(0, f"resumed with a changed recipe: {name}", int(changed[1]))


def _of_ranks(run: Path) -> Iterator[Event]:
    for path in (run / "last_phase").glob("*.json"):
        found = or_none(partial(read_json, path, _LastPhase, _SMALL))
        if found:
            yield _event(2, f"rank {path.stem} stopped: {found['reason']}", found.get("images"),
                         _seconds(found.get("time", "")))


def _of_jobs(run: Path) -> Iterator[Event]:
    for event in history(run):
        kind, at = event["event"], event.get("time")
        known = {"started": "started on {nodes}", "stopped": "stopped by {signal}", "failed": "failed: {why}",
                 "requeued": "requeued: {because}"}
        what = known[kind].format_map(event) if kind in known else kind
        bad = {"failed": 2, "requeued": 1}.get(kind, 0)
        yield _event(bad, f"job {event['job']} {what}", event.get("images"), at if can_be_drawn(at) else None)


def _seconds(text: str) -> float | None:
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S%z").timestamp()
    except (ValueError, OverflowError):
        return None
