"""What a run reports: metrics.jsonl, TensorBoard, other trackers, and lines or a progress bar for whoever watches."""

import json
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from PIL import Image
from pydantic import Field
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from torch import Tensor
from typing_extensions import TypedDict

from scalegan.config import Recipe
from scalegan.support.devices import widest
from scalegan.support.files import append_line, write_whole
from scalegan.support.progress import duration
from scalegan.support.reading import MEGABYTE, or_none, parse_json, read_bytes
from scalegan.training.tracking import Tracking

_LONGEST = 1024 * MEGABYTE


class _Report(TypedDict):
    """What every line of metrics.jsonl has."""

    images: Annotated[int, Field(strict=True, ge=0, le=10**15)]


class Means:
    """Running means of figures since the last report, summed on the device; saved, so that no report is lost.

    A value that is not finite, as a skipped update may have, is left out.
    """

    def __init__(self) -> None:
        # [2, figures]: sums and counts, by the names of the figures that come together: a vector for each phase, as
        # the host spends more on a figure's five operations than on the figure.
        self._totals: dict[tuple[str, ...], Tensor] = {}
        self._order: dict[str, None] = {}

    def add(self, figures: Mapping[str, Tensor]) -> None:
        if not figures:
            return
        names = tuple(figures)
        self._order |= dict.fromkeys(names)
        wide = widest(next(iter(figures.values())).device)
        values = torch.stack([v.detach() if v.is_floating_point() else v.to(wide) for v in figures.values()]).to(wide)
        finite = values - values == 0       # as `isfinite` has it, in fewer kernels
        seen = torch.stack([values.nan_to_num(0.0, 0.0, 0.0), finite.to(wide)])
        if names not in self._totals:
            known = self._taken(names)
            seen = torch.stack([known[name] + new if name in known else new for name, new in zip(names, seen.T)], 1)
            self._totals[names] = seen
        else:
            self._totals[names] = self._totals[names] + seen

    def _taken(self, names: tuple[str, ...]) -> dict[str, Tensor]:
        """Sum and count of each of these figures that was seen, with others, and no longer kept there."""
        found = {}
        for group in [group for group in self._totals if set(group) & set(names)]:
            for name, total in zip(group, self._totals.pop(group).T):
                if name in names:
                    found[name] = total
                else:
                    self._totals[name,] = total[:, None]
        return found

    def report(self) -> dict[str, float]:
        """The means of what was seen since the last call, and begins anew."""
        means = {name: total / count for name, (total, count) in self.state().items() if count}
        self._totals, self._order = {}, {}
        return means

    def state(self) -> dict[str, list[float]]:
        """[sum, count] by name, in the order in which they were first seen; JSON keeps them exactly."""
        found = {name: [total, int(count)] for names, totals in self._totals.items()
                 for name, total, count in zip(names, *totals.tolist())}
        return {name: found[name] for name in self._order}

    def restore(self, state: Mapping[str, list[float]], device: torch.device) -> None:
        self._order = dict.fromkeys(state)
        self._totals = {(name,): torch.tensor(values, dtype=widest(device), device=device)[:, None]
                        for name, values in state.items()}


class RunLog:
    """Writes a run's reports on rank 0.

    Args:
        folder: the run's.
        images: where the run goes on; later reports of an earlier, killed attempt are cut away.
        begun: when the run began, on the monotonic clock.
        recipe: the run's; `log` says which trackers get the reports too.
        config: the resolved recipe, with the rest of the run's identity.
    """

    def __init__(self, folder: Path, images: int, begun: float, recipe: Recipe, config: Mapping[str, Any]) -> None:
        self.console = Console(highlight=False, soft_wrap=True)
        self.path = folder / "metrics.jsonl"
        self.total_images = recipe.total_images
        self.board = None
        self._tensorboard = recipe.log.tensorboard and "tensorboard" in recipe.log.trackers
        self.rewind(images, begun)
        self.tracking = Tracking(folder, images, recipe, config, self.say)
        self.bar = self._bar(images) if sys.stdout.isatty() else None

    def rewind(self, images: int, begun: float) -> None:
        """Goes on at `images`, in a run that has `begun` then, lost time apart; later reports are cut away."""
        self.begun = begun
        self._cut(images)
        self.last = (time.monotonic(), images)
        if self._tensorboard:
            if self.board:
                self.board.close()
            self.board = _board(self.path.parent / "tensorboard", images)

    def say(self, line: str) -> None:
        self.console.print(line, markup=False)

    def advance(self, images: int) -> None:
        if self.bar and images > self.last[1]:
            self.bar.update(self.bar.task_ids[0], completed=images, rate=f"{self._rate(images):,.0f}")

    def report(self, images: int, figures: Mapping[str, float], health: Mapping[str, float],
               seconds_at_peak: Mapping[str, float]) -> None:
        """Appends a line to metrics.jsonl and to TensorBoard, and prints one to the console, without the health figures
        except skipped updates. `mfu` is the share of the time since the last report that its updates would have
        taken at the device's peak; `seconds_at_peak` holds these times by the figure's name."""
        now = time.monotonic()
        rate = self._rate(images)
        times = {"seconds": round(now - self.begun, 3), "images_per_second": round(rate, 2)}
        for name, seconds in seconds_at_peak.items():
            times[name] = round(seconds / max(now - self.last[0], 1e-9), 4)
        row = {"images": images, **times, **figures, **health}
        append_line(self.path, json.dumps(row))
        if self.board:
            for name, value in {**figures, **health}.items():
                self.board.add_scalar(name, value, images)
            for name in [name for name in times if name != "seconds"]:
                self.board.add_scalar(name, times[name], images)
            self.board.flush()
        self.tracking.figures("report", images, {**{name: times[name] for name in times if name != "seconds"},
                                                 **figures, **health})
        self.last = (now, images)
        skipped = {name: value for name, value in health.items() if name.startswith("skipped/") and value}
        shown = {name.removeprefix("loss/"): f for name, f in figures.items() if "grad_norm/" not in name}
        line = "  ".join([*(f"{name} {value:.3f}" for name, value in shown.items()),
                          *(f"{name} {value}" for name, value in skipped.items())])
        left = f"  {duration((self.total_images - images) / rate)} left" if rate and images < self.total_images else ""
        self.say(f"{images:>12,} / {self.total_images:,} images  {rate:8,.0f} images/s{left}  {line}")

    def evaluation(self, images: int, figures: Mapping[str, float], seconds: float) -> None:
        """A line of metrics.jsonl with what an evaluation found; the `seconds` it took count for no rate."""
        named = {f"eval/{name}": value for name, value in figures.items()}
        append_line(self.path, json.dumps({"images": images, "seconds": round(time.monotonic() - self.begun, 3),
                                           **named}))
        if self.board:
            for name, value in named.items():
                self.board.add_scalar(name, value, images)
            self.board.flush()
        self.tracking.figures("evaluation", images, named)
        self.last = (self.last[0] + seconds, self.last[1])
        shown = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
        self.say(f"{images:>12,} / {self.total_images:,} images  evaluated in {seconds:,.0f} s  {shown}")

    def picture(self, images: int, path: Path) -> None:
        """Shows a picture of the run in TensorBoard and the other trackers."""
        self.tracking.picture(images, path)
        if self.board:
            with Image.open(path, formats=("PNG",)) as image:
                self.board.add_image("samples", np.asarray(image.convert("RGB")), images, dataformats="HWC")

    def close(self) -> None:
        if self.bar:
            self.bar.update(self.bar.task_ids[0], completed=self.last[1])
            self.bar.stop()
        if self.board:
            self.board.close()
        self.tracking.close()

    def _rate(self, images: int) -> float:
        then, seen = self.last
        return (images - seen) / max(time.monotonic() - then, 1e-9)

    def _bar(self, images: int) -> Progress:
        bar = Progress(BarColumn(), TaskProgressColumn(), TextColumn("{task.completed:,.0f} images"),
                       TextColumn("{task.fields[rate]} images/s"), TimeRemainingColumn(), console=self.console)
        bar.add_task("images", total=self.total_images, completed=images, rate="0")
        bar.start()
        return bar

    def _cut(self, images: int) -> None:
        """Leaves the reports up to `images`; lines that are incomplete or damaged go too."""
        if not self.path.exists():
            return
        kept = []
        for line in read_bytes(self.path, _LONGEST).splitlines(keepends=True):
            report = or_none(partial(parse_json, line, self.path.name, _Report, finite=False))
            if line.endswith(b"\n") and report and report["images"] <= images:
                kept.append(line)
        write_whole(self.path, b"".join(kept))


def _board(folder: Path, images: int) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=images + 1 if images else None)
