"""What a run reports: metrics.jsonl, TensorBoard, and lines or a progress bar for whoever watches."""

import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from torch import Tensor


class Means:
    """Running means of figures since the last report, summed on the device; saved, so that no report is lost."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}

    def add(self, figures: Mapping[str, Tensor]) -> None:
        for name, value in figures.items():
            value = value.detach().to(torch.float64)
            self.sums[name] = self.sums[name] + value if name in self.sums else value
            self.counts[name] = self.counts.get(name, 0) + 1

    def report(self) -> dict[str, float]:
        """The means of what was seen since the last call, and begins anew."""
        means = {name: float(total) / self.counts[name] for name, total in self.sums.items()}
        self.sums, self.counts = {}, {}
        return means

    def state(self) -> dict[str, list[float]]:
        """[sum, count] by name; JSON keeps them exactly."""
        return {name: [float(total), self.counts[name]] for name, total in self.sums.items()}

    def restore(self, state: Mapping[str, list[float]], device: torch.device) -> None:
        self.sums = {k: torch.tensor(v[0], dtype=torch.float64, device=device) for k, v in state.items()}
        self.counts = {k: int(v[1]) for k, v in state.items()}


class RunLog:
    """Writes a run's reports on rank 0.

    Args:
        folder: the run's.
        images: where the run goes on; later reports of an earlier, killed attempt are cut away.
        total_images: for the progress bar.
        begun: when the run began, on the monotonic clock.
        tensorboard: write event files too.
    """

    def __init__(self, folder: Path, images: int, total_images: int, begun: float, tensorboard: bool) -> None:
        self.console = Console(highlight=False, soft_wrap=True)
        self.path = folder / "metrics.jsonl"
        self._cut(images)
        self.begun = begun
        self.last = (time.monotonic(), images)
        self.total_images = total_images
        self.board = _board(folder / "tensorboard", images) if tensorboard else None
        self.bar = self._bar(images) if sys.stdout.isatty() else None

    def say(self, line: str) -> None:
        self.console.print(line, markup=False)

    def advance(self, images: int) -> None:
        if self.bar and images > self.last[1]:
            self.bar.update(self.bar.task_ids[0], completed=images, rate=f"{self._rate(images):,.0f}")

    def report(self, images: int, figures: Mapping[str, float]) -> None:
        """One line of metrics.jsonl, the same to TensorBoard, and a line for those without a terminal."""
        now = time.monotonic()
        rate = self._rate(images)
        times = {"seconds": round(now - self.begun, 3), "images_per_second": round(rate, 2)}
        row = {"images": images, **times, **figures}
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        if self.board:
            for name, value in figures.items():
                self.board.add_scalar(name, value, images)
            self.board.add_scalar("images_per_second", rate, images)
            self.board.flush()
        self.last = (now, images)
        line = "  ".join(f"{name.removeprefix('loss/')} {value:.3f}" for name, value in figures.items())
        self.say(f"{images:>12,} / {self.total_images:,} images  {rate:8,.0f} images/s  {line}")

    def close(self) -> None:
        if self.bar:
            self.bar.update(self.bar.task_ids[0], completed=self.last[1])
            self.bar.stop()
        if self.board:
            self.board.close()

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
        """Leaves the reports up to `images`; a half-written last line goes too."""
        if not self.path.exists():
            return
        kept = []
        for line in self.path.read_text().splitlines(keepends=True):
            try:
                if line.endswith("\n") and json.loads(line)["images"] <= images:
                    kept.append(line)
            except (ValueError, KeyError):
                continue
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text("".join(kept))
        os.replace(temporary, self.path)


def _board(folder: Path, images: int) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=images + 1 if images else None)
