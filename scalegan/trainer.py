"""The loop. It knows phases, images and files; no GAN mathematics."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scalegan import checkpoint, pictures, power_ema
from scalegan.checkpoint import Checkpoints
from scalegan.config import Recipe
from scalegan.data.feed import Feed
from scalegan.data.stream import Reals, Stream
from scalegan.due import Due, crossed
from scalegan.ema import Ema
from scalegan.engines.base import Engine
from scalegan.engines.partitioned import Partitioned
from scalegan.engines.ranks import Ranks
from scalegan.games.base import Game, Phase
from scalegan.rollback import Rollbacks, finite
from scalegan.runlock import RunLock
from scalegan.runlog import Means, RunLog
from scalegan.stop_request import StopRequest
from scalegan.update_trace import UpdateTrace
from scalegan.utilisation import Utilisation, peak_flops
from scalegan.vitals import diversity, vitals


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
    engine: Engine
    ema: Ema
    feed: Feed
    open_stream: Callable[[int], Stream]
    checkpoints: Checkpoints
    facts: dict[str, Any]
    draw_samples: Callable[[torch.nn.Module, Path], Tensor]
    lock: RunLock | None  # of the folder, on rank 0
    schedule: Callable[[int, float], None] = lambda images, lr_factor: None  # sets what moves with the images seen
    progress: Progress = field(default_factory=Progress)
    means: Means = field(default_factory=Means)
    begun: float = field(default_factory=time.monotonic)  # less the seconds of earlier sittings
    evaluate: Any = None  # metrics.in_training.InTraining, where the recipe evaluates; not imported where it does not
    best: dict[str, dict[str, Any]] = field(default_factory=dict)  # by metric: its value, and the images it was at
    other_emas: Mapping[str, Ema] = field(default_factory=dict)  # by prefix of their tensors
    phase: str = "start"  # what it is doing, for those who ask after a death
    rollbacks: Rollbacks = field(init=False)
    utilisation: Utilisation = field(init=False)
    trace: UpdateTrace = field(init=False)

    def __post_init__(self) -> None:
        self.rollbacks = Rollbacks(self.folder, self.ranks, self.checkpoints, self.recipe.health)
        updates = self.recipe.log.profile_updates
        self.utilisation = Utilisation(peak_flops(self.ranks.device, self.engine.precision) if updates else None)
        self.trace = UpdateTrace(self.folder, updates if self.ranks.first else 0)

    def tensors(self) -> dict[str, Tensor | Partitioned]:
        """Every tensor of the run's state, by name; the same names, shapes and types with every engine."""
        found = {f"game/{name}": tensor for name, tensor in self.game.state_dict().items()}
        for group, ema in {"ema": self.ema, **self.other_emas}.items():
            found |= {f"{group}/{name}": tensor for name, tensor in ema.average.state_dict().items()}
        return found | self.engine.optimizer_state()

    def saved_facts(self) -> dict[str, Any]:
        """What is saved beside the tensors, as JSON."""
        return {**self.facts, **vars(self.progress), "means": self.means.state(), **self.engine.state(),
                "best": self.best, "seconds": time.monotonic() - self.begun}

    def whereabouts(self) -> dict[str, Any]:
        return {"images": self.progress.images, "iterations": self.progress.iterations, "phase": self.phase}

    def take_up(self, path: Path) -> None:
        """Goes on from a checkpoint, with the attempt that is due there."""
        self.ranks.together(lambda: checkpoint.load_into(path, self.tensors()))
        self.restore(checkpoint.facts_of(path))

    def restore(self, facts: Mapping[str, Any]) -> None:
        """Takes up what `saved_facts` saved."""
        self.progress = Progress(**{name: facts[name] for name in vars(Progress())})
        self.progress.attempt = max(self.progress.attempt, self.rollbacks.attempt_at(self.progress.images))
        self.feed = replace(self.feed, attempt=self.progress.attempt)
        self.means.restore(facts["means"], self.ranks.device)
        self.engine.restore(facts)
        self.best = facts.get("best", {})
        self.begun = time.monotonic() - facts["seconds"]
        if self.ranks.first:
            power_ema.forget_after(self.folder, self.progress.images)


def train(run: Run, stop: StopRequest) -> Outcome:
    """Plays the game from `run.progress` to the recipe's end, or until all ranks agree to stop."""
    recipe = run.recipe
    log = RunLog(run.folder, run.progress.images, recipe.total_images, run.begun, recipe.log.tensorboard) \
        if run.ranks.first else None
    stream = run.open_stream(run.progress.images)
    if log and run.progress.images == 0 and recipe.snapshot.every_images:
        _draw(run)
    try:
        while run.progress.images < recipe.total_images:
            before = run.progress.images
            play_iteration(run, stream)
            _average(run, before)
            due = _due(run, before, stop)
            tensors = run.tensors() if due.save or due.evaluation else {}
            if _sick(run, tensors):
                stream.close()
                _roll_back(run, log)
                stream = run.open_stream(run.progress.images)
                continue
            _report(run, log, before, due.last)
            better = due.evaluation and _evaluate(run, log)
            if due.save or better:
                _save(run, tensors, due)
            if due.stop:
                return Outcome.INTERRUPTED
        return Outcome.FINISHED
    finally:
        stream.close()
        run.trace.close()
        stop.settle()
        if log:
            log.close()


def _due(run: Run, before: int, stop: StopRequest) -> Due:
    recipe, images = run.recipe, run.progress.images
    last = images >= recipe.total_images
    return Due(last, stop.agreed() and not last, crossed(recipe.checkpoint.every_images, before, images),
               run.evaluate is not None and (last or crossed(recipe.eval.every_images, before, images)))


def _sick(run: Run, tensors: Mapping[str, Tensor | Partitioned]) -> bool:
    """Whether too many updates in a row were not finite, or what would be saved is not; the same on all ranks."""
    if run.rollbacks.due(run.engine.health.in_a_row, run.progress.iterations):
        return True
    return bool(tensors) and not all(run.ranks.gather(finite(tensors.values())))


def _save(run: Run, tensors: Mapping[str, Tensor | Partitioned], due: Due) -> None:
    """A checkpoint; one that was due, with nothing being skipped, is good enough to roll back to."""
    run.phase = "checkpoint"
    good = due.checkpoint and not int(run.engine.health.in_a_row)
    run.checkpoints.save(run.progress.images, tensors, {**run.saved_facts(), "good": good}, wait=due.stop or due.last)


def _roll_back(run: Run, log: RunLog | None) -> None:
    """Goes on from the last good checkpoint with other draws, or ends the run."""
    run.phase = "rollback"
    images = run.progress.images
    run.take_up(run.rollbacks.go_back(images, run.progress.attempt))
    run.utilisation.take_seconds()
    if log:
        log.rewind(run.progress.images)
        log.say(f"losses or gradients are not finite at {images:,} images: going back to {run.progress.images:,}, "
                f"rollback {run.progress.attempt} of at most {run.recipe.health.max_rollbacks}")


def play_iteration(run: Run, stream: Stream) -> None:
    """Every phase that is due, each update on a fresh batch or on the last one."""
    progress = run.progress
    reals: Reals | None = None
    run.schedule(progress.images, run.recipe.health.lr_factor**progress.attempt)
    for phase in run.game.phases:
        if not phase.due(progress.iterations):
            continue
        run.phase = phase.name
        for _ in range(run.game.repeats(phase)):
            if phase.fresh_batch or reals is None:
                reals = run.feed.prepare(stream.take())
                progress.images = stream.position
            updates = progress.updates.get(phase.name, 0)
            with run.trace.update(phase.name, progress.images), run.utilisation.update(phase.name):
                figures = run.engine.update(phase, run.feed.batch(reals, phase.name, updates))
            run.game.after(phase, figures)
            run.means.add({_figure(phase, name): value for name, value in figures.items()})
            progress.updates[phase.name] = updates + 1
    progress.iterations += 1


def _average(run: Run, before: int) -> None:
    """Every moving average, and the snapshots that others are made of afterwards."""
    images, power = run.progress.images, run.recipe.power_ema
    for ema in (run.ema, *run.other_emas.values()):
        ema.update(images - before, images)
    if power and run.ranks.first and crossed(power.every_images, before, images):
        power_ema.store(run.folder, images, {s: run.other_emas[f"power_ema/{s}"] for s in power.sigma_rel})


def _report(run: Run, log: RunLog | None, before: int, last: bool) -> None:
    """The picture and the report, where they are due."""
    images, recipe = run.progress.images, run.recipe
    if log and recipe.snapshot.every_images and (last or crossed(recipe.snapshot.every_images, before, images)):
        _draw(run)
    if recipe.log.every_images and (last or crossed(recipe.log.every_images, before, images)):
        figures = run.means.report()
        if log:
            log.report(images, figures, vitals(run.game, run.engine.health, figures), run.utilisation.take_seconds())
    if log:
        log.advance(images)


def _evaluate(run: Run, log: RunLog | None) -> bool:
    """Measures the averaged generator; whether any figure is better than all before."""
    run.phase = "evaluation"
    begun = time.monotonic()
    figures = run.evaluate(run.ema.average, run.progress.images)
    if log:
        log.evaluation(run.progress.images, figures, time.monotonic() - begun)
    return run.evaluate.improved(run.best, figures, run.progress.images)


def _draw(run: Run) -> None:
    """The run's picture; how much its samples differ is told in the next report."""
    samples = run.draw_samples(run.ema.average, pictures.numbered(run.folder / "samples", run.progress.images))
    run.means.add({"diversity": diversity(samples)})


def _figure(phase: Phase, name: str) -> str:
    """By phase, but for gradient norms, which are the player's where its main phase has them."""
    return name if name.startswith("grad_norm/") and phase.every == 1 else f"loss/{phase.name}/{name}"
