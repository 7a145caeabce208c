"""Brings a run to life on this rank: joins the others, opens data and folder, resumes, trains."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from scalegan.averages.averages import Averages
from scalegan.checkpoints import store
from scalegan.checkpoints.exports import described
from scalegan.checkpoints.store import Checkpoints
from scalegan.config import Recipe, loading
from scalegan.config.game import streams_of
from scalegan.config.ranks import check_world
from scalegan.data import opening
from scalegan.data.preparing.embedded import is_embedded, make_embedded
from scalegan.data.reading.streams import Streams
from scalegan.data.reading.waiting import Stopped
from scalegan.data.spec import Spec
from scalegan.engines import choice, optimizers
from scalegan.engines.precision import choose_precision
from scalegan.engines.ranks import Ranks, join, leave, take_part
from scalegan.errors import LostRank, RecipeError, UserError
from scalegan.games.base import Game
from scalegan.games.compiled import check_compiler
from scalegan.support.signals import stop_with_launcher
from scalegan.training import build, environment
from scalegan.training.batch_loader import BatchLoader, StreamSettings
from scalegan.training.introduction import introduction
from scalegan.training.liveness import Watch
from scalegan.training.painter import Painter
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
    except Stopped as error:
        stopped(error.number)
        raise
    leave()
    return code


def _trained(recipe: Recipe, ranks: Ranks, stop: StopRequest, watch: Watch) -> int:
    try:
        micro_batch = check_world(recipe, ranks.world)
        watch.follow(Path(recipe.run_dir), lambda: {"phase": "start"})
        run = assemble(recipe, ranks, micro_batch)
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


def assemble(recipe: Recipe, ranks: Ranks, micro_batch: int) -> Run:
    """The parts of a run on this rank, resumed where there is a checkpoint. Claims the run folder."""
    for stream in streams_of(recipe):
        data = opening.settings_of(recipe, stream)
        if is_embedded(data.path):
            ranks.together(lambda data=data: make_embedded(data, ranks))
    sources = ranks.together(lambda: opening.open_sources(recipe))
    specs = {name: source.spec for name, source in sources.items()}
    folder = Path(recipe.run_dir)
    lock = claim(folder, ranks)

    precision = choose_precision(recipe.precision, ranks.device)
    environment.prepare(ranks.device, recipe.engine.deterministic)
    if recipe.engine.compile:
        ranks.together(lambda: check_compiler(ranks.device))
    game = build.on_device(build.game(recipe, specs), ranks.device)
    averages = Averages(recipe, {name: game.players[name] for name in game.averaged})
    of_players = optimizers.make(recipe.optimizer, game)
    engine = choice.make(recipe.engine, game, of_players, ranks, micro_batch, precision)

    share = recipe.batch_size // ranks.world
    lanes_here = recipe.lanes // ranks.world
    lanes = range(ranks.rank * lanes_here, (ranks.rank + 1) * lanes_here)
    conditions = {name: source.conditions for name, source in sources.items()}
    loader = BatchLoader(recipe.seed, 0, recipe.batch_size, ranks.rank * share, ranks.device, {
        name: StreamSettings(sources[source.flips_with].settings.flip,
                             None if conditions[name] is None else conditions[name].to(ranks.device),
                             source.flips_with)
        for name, source in sources.items()})

    def open_streams(position: int) -> Streams:
        return Streams({name: source.open(lanes, position, ranks.device.type == "cuda")
                        for name, source in sources.items()})

    painter = Painter(recipe, game, sources, ranks.device)
    config = _identified(recipe, game, sources)
    records = environment.record(ranks, micro_batch, precision, recipe.engine)
    checkpoints = Checkpoints(folder / "checkpoints", ranks, recipe.checkpoint.keep)
    networks = described(config, specs, game)
    networks.pop("recipe")
    run = Run(recipe, folder, ranks, game, of_players, engine, averages, loader, open_streams, checkpoints,
              {"recipe": config, "environment": records, "networks": networks}, painter.samples, lock,
              partial(optimizers.schedule, of_players, recipe.optimizer, game))
    if recipe.eval.every_images:
        build.make_evaluation_sets(recipe, ranks)
        run.evaluate = ranks.together(lambda: build.evaluator(recipe, game, specs, ranks))
    if recipe.engine.compile and recipe.log.profile_updates:
        run.utilisation.of_phases = _flops_if_eager(recipe, specs, run)
    _resume(run, config, records)
    if ranks.first and not (folder / "reals.png").exists():
        painter.reals(folder / "reals.png")
    for line in introduction(run, sources):
        _say(run, line)
    return run


def _identified(recipe: Recipe, game: Game, sources: Mapping[str, opening.Source]) -> dict[str, Any]:
    """The recipe with what else makes the run what it is: the content of its data, and frozen networks."""
    config = loading.to_dict(recipe)
    first, *others = sources
    config["data"]["content"] = sources[first].content
    for name in others:
        config["streams"][name]["content"] = sources[name].content
    if game.fixed:
        config["fixed"] = {name: build.digest_of(network) for name, network in game.fixed.items()}
    return config


def _flops_if_eager(recipe: Recipe, specs: Mapping[str, Spec], run: Run) -> dict[str, int]:
    """Operations of this rank's updates by phase, counted on a copy without data: compiled code cannot be counted."""
    from scalegan.training.costs import Costs

    micro_batch = run.engine.micro_batch
    costs = Costs(replace(recipe, engine=replace(recipe.engine, compile=False)), specs, run.engine.precision)
    micro_batches = recipe.batch_size // run.ranks.world // micro_batch
    return {phase.name: micro_batches * costs.micro_batch(phase, micro_batch).flops for phase in costs.game.phases}


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
        metadata = store.metadata_of(path)
        before = loading.completed(metadata["recipe"])
        if not named:
            check_identity(before, config, folder)
        run.resume_from(path)
        _say(run, f"resuming {folder} at {run.progress.images:,} images")
        for change in environment.changes(metadata["environment"], records):
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
