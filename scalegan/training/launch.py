"""Brings a run to life on this rank: joins the others, opens data and folder, resumes, trains."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from scalegan.averages.ema import Ema
from scalegan.averages.power_ema import PowerEma
from scalegan.checkpoints import store
from scalegan.checkpoints.store import Checkpoints
from scalegan.config import Recipe, loading
from scalegan.config.ranks import check_world
from scalegan.data import opening
from scalegan.data.preparing.embedded import is_embedded, make_embedded
from scalegan.data.reading.ffcv_reader import FfcvStream
from scalegan.data.reading.stream import Stream
from scalegan.data.reading.waiting import Stopped
from scalegan.engines import choice, optimizers
from scalegan.engines.precision import choose_precision
from scalegan.engines.ranks import Ranks, join, leave, take_part
from scalegan.errors import LostRank, RecipeError, UserError
from scalegan.games.compiled import check_compiler
from scalegan.support.signals import stop_with_launcher
from scalegan.training import build, environment
from scalegan.training.batch_loader import Feed
from scalegan.training.liveness import Watch
from scalegan.training.painter import SamplePainter
from scalegan.training.run import Run
from scalegan.training.run_folder import check_identity, claim, freeze
from scalegan.training.stop_request import StopRequest
from scalegan.training.trainer import Outcome, train


def launch(recipe: Recipe, stopped: Callable[[int], None] = lambda number: None) -> int:
    """Trains `recipe` on all ranks; returns the exit code. Where a signal stops it, rank 0 calls `stopped` with the
    signal's number once all is saved, or the rank that can't wait for data any longer."""
    warnings.filterwarnings("ignore", message="OMP_NUM_THREADS")
    recipe = replace(recipe, engine=choice.asked_of_launcher(recipe.engine))
    if not take_part(recipe.lanes):
        return int(Outcome.FINISHED)
    ranks = join(recipe.engine.threads)
    stop = StopRequest(ranks)
    stop_with_launcher()
    try:
        with Watch(ranks) as watch:
            code = _trained(recipe, ranks, stop, watch)
            if code == Outcome.INTERRUPTED and ranks.first:
                stopped(stop.signal)
            return code
    except Stopped as error:
        stopped(error.number)
        raise
    finally:
        leave()


def _trained(recipe: Recipe, ranks: Ranks, stop: StopRequest, watch: Watch) -> int:
    try:
        grain = check_world(recipe, ranks.world)
        watch.follow(Path(recipe.run_dir), lambda: {"phase": "start"})
        run = assemble(recipe, ranks, grain)
        watch.follow(run.folder, run.whereabouts)
        outcome = train(run, stop)
        _say_goodbye(run, outcome)
        if run.lock is not None:
            run.lock.release()
        return int(outcome)
    except RuntimeError as error:
        if ranks.world == 1 or not _lost_a_peer(error):
            raise
        watch.wait_for_verdict()  # it names the dead rank, and does not return
        raise LostRank(f"the connection to another rank broke ({str(error).splitlines()[0]}); the same command goes "
                        "on from the last checkpoint") from error


def assemble(recipe: Recipe, ranks: Ranks, grain: int) -> Run:
    """The parts of a run on this rank, resumed where there is a checkpoint. Claims the run folder."""
    if is_embedded(recipe.data.path):
        ranks.together(lambda: make_embedded(recipe.data, ranks))
    chunks, task, content, labels = ranks.together(lambda: opening.open_data(recipe))
    folder = Path(recipe.run_dir)
    lock = claim(folder, ranks)

    precision = choose_precision(recipe.precision, ranks.device)
    environment.prepare(ranks.device, recipe.engine.deterministic)
    if recipe.engine.compile:
        ranks.together(lambda: check_compiler(ranks.device))
    game = build.game(recipe, task).to(ranks.device, memory_format=torch.channels_last)
    ema, *others = (Ema(game.players[game.averaged], e.half_life_images, e.ramp_up)
                    for e in (recipe.ema, *recipe.emas.values()))
    other_emas = {f"emas/{name}": other for name, other in zip(recipe.emas, others)}
    for sigma in recipe.power_ema.sigma_rel if recipe.power_ema else ():
        other_emas[f"power_ema/{sigma}"] = PowerEma(game.players[game.averaged], sigma)
    of_players = optimizers.make(recipe.optimizer, game)
    engine = choice.make(recipe.engine, game, of_players, ranks, grain, precision)

    share = recipe.batch_size // ranks.world
    lanes_here = recipe.lanes // ranks.world
    lanes = range(ranks.rank * lanes_here, (ranks.rank + 1) * lanes_here)
    feed = Feed(recipe.seed, 0, recipe.batch_size, ranks.rank * share, ranks.device, recipe.data.flip,
                None if labels is None else labels.to(ranks.device))

    def open_stream(position: int) -> Stream | FfcvStream:
        return opening.open_stream(chunks, lanes, position, recipe.data.workers, ranks.device.type == "cuda")

    painter = SamplePainter(recipe, task, chunks, labels, ranks.device)
    config = loading.to_dict(recipe)
    config["data"]["content"] = content
    records = environment.record(ranks, grain, precision, recipe.engine)
    checkpoints = Checkpoints(folder / "checkpoints", ranks, recipe.checkpoint.keep)
    run = Run(recipe, folder, ranks, game, of_players, engine, ema, feed, open_stream, checkpoints,
              {"recipe": config, "environment": records, "task": vars(task)}, painter.samples, lock,
              partial(optimizers.schedule, of_players, recipe.optimizer, game), other_emas=other_emas)
    if recipe.eval.every_images:
        run.evaluate = ranks.together(lambda: build.evaluator(recipe, task, ranks))
    if recipe.engine.compile and recipe.log.profile_updates:
        run.utilisation.of_phases = _flops_if_eager(recipe, run)
    _resume(run, config, records)
    if ranks.first and not (folder / "reals.png").exists():
        painter.reals(folder / "reals.png")
    return run


def _flops_if_eager(recipe: Recipe, run: Run) -> dict[str, int]:
    """Operations of this rank's updates by phase, counted on a copy without data: compiled code cannot be counted."""
    from scalegan.training.costs import Costs

    grain = run.engine.grain
    costs = Costs(replace(recipe, engine=replace(recipe.engine, compile=False)), run.facts["task"]["num_classes"],
                  run.engine.precision)
    grains = recipe.batch_size // run.ranks.world // grain
    return {phase.name: grains * costs.grain(phase, grain).flops for phase in costs.game.phases}


def _resume(run: Run, config: dict, records: dict) -> None:
    """Takes up the checkpoint that `resume` asks for, and freezes the recipe beside it."""
    asked, folder = run.recipe.resume, run.folder
    named = asked not in ("auto", "never")
    path = Path(asked) if named else run.checkpoints.newest()
    if asked == "never" and path is not None:
        raise RecipeError(f"resume=never, but {folder} holds checkpoints; choose another run_dir, or resume=auto")
    before = None
    if path is not None:
        damage = store.verify(path)
        if damage:
            raise UserError(f"resume={path}: {damage}; name another checkpoint")
        facts = store.facts_of(path)
        before = facts["recipe"]
        if not named:
            check_identity(before, config, folder)
        run.take_up(path)
        _say(run, f"resuming {folder} at {run.progress.images:,} images")
        for change in environment.changes(facts["environment"], records):
            _say(run, f"bits may differ because {change}")
    if run.ranks.first:
        for key in freeze(folder, config, records, run.progress.images, before):
            _say(run, f"changed since: {key}")


def _say_goodbye(run: Run, outcome: Outcome) -> None:
    if outcome is Outcome.INTERRUPTED:
        _say(run, f"stopped at {run.progress.images:,} images, saved; the same command goes on")
        return
    _say(run, f"finished at {run.progress.images:,} images: {run.folder}")
    picture = run.folder / "samples" / f"{run.progress.images:012d}.png"
    if picture.exists():
        _say(run, f"samples: {picture.resolve()}")


def _say(run: Run, line: str) -> None:
    if run.ranks.first:
        print(line, flush=True)


def _lost_a_peer(error: RuntimeError) -> bool:
    text = str(error)
    return any(word in text for word in ("Connection", "gloo", "NCCL", "peer"))
