"""The loop. It knows phases, images and files; no GAN mathematics."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scalegan import pictures
from scalegan.checkpoint import Checkpoints
from scalegan.config import Recipe
from scalegan.data.feed import Feed
from scalegan.data.stream import Reals, Stream
from scalegan.ema import Ema
from scalegan.engines.ddp import DDPEngine
from scalegan.engines.ranks import Ranks
from scalegan.games.base import Game
from scalegan.runlog import Means, RunLog
from scalegan.signals import StopRequest


class Outcome(IntEnum):
    """How training ended; also the process's exit code."""

    FINISHED = 0
    INTERRUPTED = 75


@dataclass
class Progress:
    """How far a run has come. With the tensors, this is its whole state."""

    images: int = 0
    iterations: int = 0
    updates: dict[str, int] = field(default_factory=dict)
    attempt: int = 0


@dataclass
class Run:
    """The parts of a run, and what is saved of them."""

    recipe: Recipe
    folder: Path
    ranks: Ranks
    game: Game
    optimizers: Mapping[str, torch.optim.Optimizer]
    engine: DDPEngine
    ema: Ema
    feed: Feed
    open_stream: Callable[[int], Stream]
    checkpoints: Checkpoints
    facts: dict[str, Any]
    draw_samples: Callable[[torch.nn.Module, Path], None]
    lock: object  # of the folder, held as long as the run lives
    schedule: Callable[[int], None] = lambda images: None  # sets what moves with the images seen
    progress: Progress = field(default_factory=Progress)
    means: Means = field(default_factory=Means)
    begun: float = field(default_factory=time.monotonic)  # less the seconds of earlier sittings

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor of the run's state, by name."""
        found = {f"game/{name}": tensor for name, tensor in self.game.state_dict().items()}
        found |= {f"ema/{name}": tensor for name, tensor in self.ema.average.state_dict().items()}
        for player, optimizer in self.optimizers.items():
            names = [name for name, _ in self.game.players[player].named_parameters()]
            for name, parameter in zip(names, optimizer.param_groups[0]["params"]):
                for key, value in optimizer.state[parameter].items():
                    found[f"optimizer/{player}/{name}/{key}"] = value
        return found

    def saved_facts(self) -> dict[str, Any]:
        """What is saved beside the tensors, as JSON."""
        return {**self.facts, **vars(self.progress), "means": self.means.state(), "scalers": self.engine.scales(),
                "seconds": time.monotonic() - self.begun}

    def restore(self, facts: Mapping[str, Any]) -> None:
        """Takes up what `saved_facts` saved."""
        self.progress = Progress(**{name: facts[name] for name in vars(Progress())})
        self.means.restore(facts["means"], self.ranks.device)
        self.engine.restore_scales(facts["scalers"])
        self.begun = time.monotonic() - facts["seconds"]


def train(run: Run, stop: StopRequest) -> Outcome:
    """Plays the game from `run.progress` to the recipe's end, or until all ranks agree to stop."""
    recipe, progress = run.recipe, run.progress
    log = RunLog(run.folder, progress.images, recipe.total_images, run.begun, recipe.log.tensorboard) \
        if run.ranks.first else None
    stream = run.open_stream(progress.images)
    if log and progress.images == 0 and recipe.snapshot.every_images:
        run.draw_samples(run.ema.average, _picture(run))
    try:
        while progress.images < recipe.total_images:
            before = progress.images
            play_iteration(run, stream)
            run.ema.update(progress.images - before, progress.images)
            last = progress.images >= recipe.total_images
            _report(run, log, before, last)
            stopping = stop.agreed() and not last
            if stopping or last or _crossed(recipe.checkpoint.every_images, before, progress.images):
                run.checkpoints.save(progress.images, run.tensors(), run.saved_facts(), wait=stopping or last)
            if stopping:
                return Outcome.INTERRUPTED
        return Outcome.FINISHED
    finally:
        stream.close()
        stop.settle()
        if log:
            log.close()


def play_iteration(run: Run, stream: Stream) -> None:
    """Every phase that is due, each update on a fresh batch or on the last one."""
    progress = run.progress
    reals: Reals | None = None
    run.schedule(progress.images)
    for phase in run.game.phases:
        if not phase.due(progress.iterations):
            continue
        for _ in range(phase.updates):
            if phase.fresh_batch or reals is None:
                reals = run.feed.prepare(stream.take())
                progress.images = stream.position
            updates = progress.updates.get(phase.name, 0)
            figures = run.engine.update(phase, run.feed.batch(reals, phase.name, updates))
            run.means.add({f"loss/{phase.name}/{name}": value for name, value in figures.items()})
            progress.updates[phase.name] = updates + 1
    progress.iterations += 1


def _report(run: Run, log: RunLog | None, before: int, last: bool) -> None:
    """The report and the picture, where they are due."""
    images, recipe = run.progress.images, run.recipe
    if recipe.log.every_images and (last or _crossed(recipe.log.every_images, before, images)):
        figures = run.means.report()
        if log:
            log.report(images, figures)
    if log and recipe.snapshot.every_images and (last or _crossed(recipe.snapshot.every_images, before, images)):
        run.draw_samples(run.ema.average, _picture(run))
    if log:
        log.advance(images)


def _picture(run: Run) -> Path:
    return pictures.numbered(run.folder / "samples", run.progress.images)


def _crossed(every: int, before: int, now: int) -> bool:
    """Whether a multiple of `every` images was reached; 0 means never."""
    return bool(every) and now // every > before // every
