"""Sends a run's figures and pictures to trackers, without waiting for them and without failing with them."""

import json
import queue
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypedDict

from scalegan.config import Recipe
from scalegan.errors import one_line
from scalegan.support.files import write_whole
from scalegan.support.reading import or_none, read_json
from scalegan.training.trackers import TRACKERS, Tracker

_WAITING = 10_000   # reports that a tracker may be behind
_LAST_SECONDS = 20.0    # that trackers have, together, to send the rest when the run ends


class _Tracked(TypedDict):
    """A tracked run: its identity, and the number of images at which it last got each kind of report."""

    id: str
    last: dict[str, Annotated[int, Field(strict=True, ge=0)]]


class Tracking:
    """A thread per tracker, which starts it, feeds it and ends it. If anything it does raises, it says so in a line and
    leaves that tracker alone from there on.

    `<tracker>.json` in the run folder keeps the tracked run's identity, with which a resumed run goes on, and how far
    its reports have come: those that a resumed run repeats are the same, bit for bit, and are not sent again. A run
    that begins at no images begins a tracked run of its own.

    Args:
        folder: the run's.
        images: where the run goes on.
        config: of the run; nested keys become dotted ones.
        say: prints a line.
    """

    def __init__(self, folder: Path, images: int, recipe: Recipe, config: Mapping[str, Any],
                 say: Callable[[str], None]) -> None:
        flat = dict(_flat(config))
        self._feeds = [_Feed(name, TRACKERS[name](folder), folder / f"{name}.json", images > 0, flat, say)
                       for name in dict.fromkeys(recipe.log.trackers) if name in TRACKERS]

    def figures(self, kind: str, images: int, figures: Mapping[str, float]) -> None:
        """Sends figures; `kind` separates reports that come at the same number of images."""
        for feed in self._feeds:
            feed.put(kind, images, partial(feed.tracker.figures, images, dict(figures)))

    def picture(self, images: int, path: Path) -> None:
        for feed in self._feeds:
            feed.put("picture", images, partial(feed.tracker.picture, images, path))

    def close(self) -> None:
        """Lets the trackers end their runs, but waits for them only so long."""
        for feed in self._feeds:
            feed.end()
        until = time.monotonic() + _LAST_SECONDS
        for feed in self._feeds:
            feed.wait(max(until - time.monotonic(), 0.0))


class _Feed:
    """A tracker and its thread."""

    def __init__(self, name: str, tracker: Tracker, path: Path, goes_on: bool, config: Mapping[str, Any],
                 say: Callable[[str], None]) -> None:
        self.name, self.tracker, self.path, self.config, self.say = name, tracker, path, config, say
        self.given_up = False
        self.todo: queue.Queue[tuple[str, int, Callable[[], None]] | None] = queue.Queue(_WAITING)
        self.thread = threading.Thread(target=self._feed, args=(goes_on,), name=f"tracker {name}", daemon=True)
        self.thread.start()

    def put(self, kind: str, images: int, send: Callable[[], None]) -> None:
        if self.given_up:
            return
        try:
            self.todo.put_nowait((kind, images, send))
        except queue.Full:
            self._give_up(f"it is {_WAITING:,} reports behind")

    def end(self) -> None:
        if not self.given_up and not self.todo.full():
            self.todo.put_nowait(None)

    def wait(self, seconds: float) -> None:
        self.thread.join(seconds)
        if self.thread.is_alive():
            self._give_up("it has not sent everything in time")

    def _feed(self, goes_on: bool) -> None:
        try:
            tracked = or_none(partial(read_json, self.path, _Tracked)) if goes_on else None
            identity = self.tracker.start(tracked and tracked["id"], self.config)
            last = tracked["last"] if tracked else {}
            self._keep(identity, last)
            while (entry := self.todo.get()) is not None and not self.given_up:
                kind, images, send = entry
                if images <= last.get(kind, -1):
                    continue
                send()
                last[kind] = images
                self._keep(identity, last)
            self.tracker.finish()
        except (Exception, SystemExit) as error:
            self._give_up(f"{type(error).__name__}: {error}".splitlines()[0])

    def _keep(self, identity: str, last: Mapping[str, int]) -> None:
        write_whole(self.path, json.dumps({"id": identity, "last": last}))

    def _give_up(self, why: str) -> None:
        if not self.given_up:
            self.given_up = True
            self.say(f"warning: {self.name} tracks this run no longer: {one_line(why)}; training goes on, and "
                     "metrics.jsonl has everything")


def _flat(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found = []
    for key, value in tree.items():
        found += _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [(prefix + key, value)]
    return found
