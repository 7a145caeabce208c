"""The training loop. It deals with phases, images and files, and contains no GAN mathematics."""

import time
from collections.abc import Mapping
from dataclasses import replace
from enum import IntEnum

from torch import Tensor

from scalegan.data.reading.streams import Streams
from scalegan.engines.base import Pending
from scalegan.engines.partitioned import Partitioned
from scalegan.games.base import Phase
from scalegan.pictures import grids
from scalegan.training.health_figures import diversity, health_figures, with_spectral_norm
from scalegan.training.intervals import Due, crossed
from scalegan.training.rollback import finite
from scalegan.training.run import Progress, Run
from scalegan.training.run_log import RunLog
from scalegan.training.stop_request import StopRequest


class Outcome(IntEnum):
    """How training ended, as an exit code; errors have their own (`scalegan.errors`: 3 diverged)."""

    FINISHED = 0
    INTERRUPTED = 75


def train(run: Run, stop: StopRequest) -> Outcome:
    """Plays the game from `run.progress` to the recipe's end, or until all ranks agree to stop."""
    recipe = run.recipe
    log = RunLog(run.folder, run.progress.images, run.begun, recipe, run.constants["recipe"]) \
        if run.ranks.is_main else None
    streams = run.open_streams(run.progress.images)
    if run.progress.images == 0 and recipe.snapshot.every_images:
        _draw(run, log)
    try:
        if run.saved or run.progress.images < recipe.total_images:
            _catch_up_evaluation(run, log)
        else:
            _finish_at_the_start(run, log)
        while run.progress.images < recipe.total_images:
            before = run.progress.images
            play_iteration(run, streams)
            _average(run, before)
            due = _due(run, before, stop)
            tensors = run.tensors() if due.save or due.evaluation else {}
            if _must_roll_back(run, tensors):
                streams.close()
                _roll_back(run, log)
                streams = run.open_streams(run.progress.images)
                continue
            _report(run, log, before, due.last)
            if due.save:
                _save(run, tensors, due)
            if due.stop:
                return Outcome.INTERRUPTED
            if due.evaluation and _evaluate(run, log):
                _save(run, tensors, replace(due, evaluation=False))
        return Outcome.FINISHED
    finally:
        streams.close()
        run.trace.close()
        stop.settle()
        if log:
            log.close()


def _finish_at_the_start(run: Run, log: RunLog | None) -> None:
    """Writes the last report, checkpoint and evaluation of a run that resumed, from elsewhere, already at its end."""
    due = Due(last=True, stop=False, checkpoint=False, evaluation=run.evaluate is not None)
    _report(run, log, run.progress.images, last=True)
    _save(run, run.tensors(), due)
    if due.evaluation and _evaluate(run, log):
        _save(run, run.tensors(), replace(due, evaluation=False))


def _due(run: Run, before: int, stop: StopRequest) -> Due:
    recipe, images = run.recipe, run.progress.images
    last = images >= recipe.total_images
    return Due(last, stop.agreed() and not last, crossed(recipe.checkpoint.every_images, before, images),
               run.evaluate is not None and (last or crossed(recipe.eval.every_images, before, images)))


def _must_roll_back(run: Run, tensors: Mapping[str, Tensor | Partitioned]) -> bool:
    """Whether too many updates in a row were not finite, or what would be saved is not; the same on all ranks."""
    if run.rollbacks.due(run.engine.health.in_a_row, run.progress.iterations):
        return True
    return bool(tensors) and not all(run.ranks.all_gather(finite(tensors.values())))


def _save(run: Run, tensors: Mapping[str, Tensor | Partitioned], due: Due) -> None:
    """Saves a checkpoint, marked good (a target for rollbacks) if it was due and no updates are being skipped."""
    run.phase = "checkpoint"
    good = due.checkpoint and not int(run.engine.health.in_a_row)
    state = {**run.metadata(), "good": good, "evaluation_due": due.evaluation}
    run.checkpoints.save(run.progress.images, tensors, state, wait=due.stop or due.last)


def _roll_back(run: Run, log: RunLog | None) -> None:
    """Continues from the last good checkpoint with different draws, or ends the run."""
    run.phase = "rollback"
    images = run.progress.images
    run.resume_from(run.rollbacks.go_back(images, run.progress.attempt))
    run.utilisation.take_seconds()
    if log:
        log.rewind(run.progress.images, run.begun)
        log.say(f"losses or gradients are not finite at {images:,} images: going back to {run.progress.images:,}, "
                f"rollback {run.progress.attempt} of at most {run.recipe.health.max_rollbacks}")


def play_iteration(run: Run, streams: Streams) -> None:
    """Runs every phase that is due, each update on a fresh batch or on the last one."""
    progress, before = run.progress, dict(run.progress.updates)
    images, samples = progress.images, None
    run.schedule(progress.images, run.recipe.health.lr_factor**progress.attempt)
    waiting: list[Pending] = []
    for phase in run.game.phases:
        due = phase.due(images, before.get(phase.of, 0), progress.updates.get(phase.of, 0))
        if not due:
            continue
        run.phase = phase.name
        for _ in range(1 if phase.step_with else due * run.game.repeats(phase)):
            if phase.fresh_batch or samples is None:
                samples, progress.images = run.loader.prepare(streams.take()), streams.position
            batch = run.loader.batch(samples, images, phase.draws or phase.name, _count(progress, phase))
            with run.trace.update(phase.name, progress.images), run.utilisation.update(phase.name):
                waiting.append(run.engine.differentiate(phase, batch))
                waiting = _step(run, waiting, phase.name)
            progress.updates[phase.name] = progress.updates.get(phase.name, 0) + 1
    _step(run, waiting)
    progress.iterations += 1


def _count(progress: Progress, phase: Phase) -> int:
    """The update number that keys a phase's draws: its own or, with `phase.draws`, that of the other's last update."""
    if phase.draws:
        return max(progress.updates.get(phase.draws, 0) - 1, 0)
    return progress.updates.get(phase.name, 0)


def _step(run: Run, waiting: list[Pending], name: str = "") -> list[Pending]:
    """Steps the pending updates that waited only for phase `name` (all, if empty); returns those that still wait."""
    still = []
    for pending in waiting:
        phase = pending.phase
        if name and (phase.step_with or phase.name) != name:
            still.append(pending)
            continue
        figures = run.engine.step(pending)
        run.game.after(phase, figures)
        run.means.add({_figure(phase, figure): value for figure, value in figures.items()})
    return still


def _average(run: Run, before: int) -> None:
    """Updates the moving averages, and stores the power-EMA snapshots when they are due."""
    images, power = run.progress.images, run.recipe.power_ema
    run.averages.update(images - before, images)
    if power and crossed(power.every_images, before, images):
        with run.whole_networks():
            if run.ranks.is_main:
                run.averages.store_snapshot(run.folder, images)


def _report(run: Run, log: RunLog | None, before: int, last: bool) -> None:
    """Makes the sample grid and the report, if they are due."""
    images, recipe = run.progress.images, run.recipe
    if recipe.snapshot.every_images and (last or crossed(recipe.snapshot.every_images, before, images)):
        _draw(run, log)
    if recipe.log.every_images and (last or crossed(recipe.log.every_images, before, images)):
        figures = run.means.report()
        with run.engine.whole(with_spectral_norm(run.game)):
            if log:
                log.report(images, figures, health_figures(run.game, run.engine.health, figures),
                           run.utilisation.take_seconds())
    if log:
        log.advance(images)


def _evaluate(run: Run, log: RunLog | None) -> bool:
    """Evaluates the averaged generator; returns whether any figure is the best so far."""
    run.phase = "evaluation"
    begun = time.monotonic()
    with run.whole_networks(), run.networks() as networks:
        figures = run.evaluate(networks, run.progress.images)
    if log:
        log.evaluation(run.progress.images, figures, time.monotonic() - begun)
    return run.evaluate.improved(run.best, figures, run.progress.images)


def _catch_up_evaluation(run: Run, log: RunLog | None) -> None:
    """Makes the evaluation that was due at the checkpoint the run resumed from, if it was not finished then."""
    if not run.evaluation_due or run.evaluate is None:
        return
    known = run.ranks.broadcast(run.evaluate.recorded(run.progress.images) if run.ranks.is_main else None)
    better = run.evaluate.improved(run.best, known, run.progress.images) if known else _evaluate(run, log)
    if better:
        last = run.progress.images >= run.recipe.total_images
        _save(run, run.tensors(), Due(last, stop=False, checkpoint=run.good, evaluation=False))


def _draw(run: Run, log: RunLog) -> None:
    """Renders the run's sample grid, on rank 0; the diversity of its samples goes into the next report."""
    path = grids.numbered(run.folder / "samples", run.progress.images)
    with run.whole_networks():
        if log is None:
            return
        with run.networks() as networks:
            samples = run.draw_samples(networks, path)
    log.picture(run.progress.images, path)
    run.means.add({"diversity": diversity(samples)})


def _figure(phase: Phase, name: str) -> str:
    """The name in the log: with the phase as prefix, except for a main phase's gradient norms, which are per player."""
    return name if name.startswith("grad_norm/") and phase.every == 1 else f"loss/{phase.name}/{name}"
