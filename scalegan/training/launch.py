"""Starts a run on this rank: joins the others, opens the data and the run folder, resumes, trains."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from scalegan.averages.averages import Averages
from scalegan.averages.label_summary import summary
from scalegan.checkpoints import decoders
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
from scalegan.engines.precision import choose_precision, slow_precision
from scalegan.engines.ranks import Ranks, is_training_rank, join, leave
from scalegan.errors import LostRank
from scalegan.games.base import DECODER, Game
from scalegan.games.compiled import check_compiler
from scalegan.support.digests import digest_of
from scalegan.support.signals import stop_with_launcher
from scalegan.training import build, environment
from scalegan.training.batch_loader import BatchLoader, StreamSettings
from scalegan.training.introduction import introduction
from scalegan.training.liveness import Watch
from scalegan.training.painter import Painter
from scalegan.training.resumption import resume
from scalegan.training.run import Run
from scalegan.training.run_folder import claim
from scalegan.training.stop_request import StopRequest
from scalegan.training.trackers import check_installed
from scalegan.training.trainer import Outcome, train


def launch(recipe: Recipe, stopped: Callable[[int], None] = lambda number: None) -> int:
    """Trains `recipe` on all ranks; returns the exit code. If a signal stops it, rank 0 calls `stopped` with the
    signal's number once everything is saved; a rank that gives up waiting for data calls it too."""
    warnings.filterwarnings("ignore", message="OMP_NUM_THREADS")
    recipe = replace(recipe, engine=choice.apply_launcher_choice(recipe.engine),
                     precision=choice.precision_asked(recipe.precision))
    if not is_training_rank(recipe.lanes):
        return int(Outcome.FINISHED)
    ranks = join(recipe.engine.threads)
    stop = StopRequest(ranks)
    stop_with_launcher()
    try:
        with Watch(ranks) as watch:
            code = _trained(recipe, ranks, stop, watch)
            if code == Outcome.INTERRUPTED and ranks.is_main:
                stopped(stop.signal)
    except Stopped as error:
        stopped(error.number)
        raise
    leave()
    return code


def _trained(recipe: Recipe, ranks: Ranks, stop: StopRequest, watch: Watch) -> int:
    try:
        micro_batch = check_world(recipe, ranks.world_size)
        ranks.on_main(lambda: check_installed(recipe))
        watch.follow(Path(recipe.run_dir), lambda: {"phase": "start"})
        run = assemble(recipe, ranks, micro_batch)
        watch.follow(run.folder, run.whereabouts)
        outcome = train(run, stop)
        _print_outcome(run, outcome)
        if run.lock is not None:
            run.lock.release()
        return int(outcome)
    except RuntimeError as error:
        if ranks.world_size == 1 or not _lost_a_peer(error):
            raise
        watch.wait_to_be_ended()  # it names the dead rank, and does not return
        raise LostRank(f"the connection to another rank broke ({str(error).splitlines()[0]}); run the same command "
                        "again to resume from the last checkpoint") from error


def assemble(recipe: Recipe, ranks: Ranks, micro_batch: int) -> Run:
    """The parts of a run on this rank, resumed where there is a checkpoint. Claims the run folder."""
    for stream in streams_of(recipe):
        data = opening.settings_of(recipe, stream)
        if is_embedded(data.path):
            ranks.run_collectively(lambda data=data: make_embedded(data, ranks))
    sources = ranks.run_collectively(lambda: opening.open_sources(recipe))
    specs = {name: source.spec for name, source in sources.items()}
    game = build.game(recipe, specs)
    choice.check(recipe.engine, game, ranks.device)
    folder = Path(recipe.run_dir)
    lock = claim(folder, ranks)

    precision = choose_precision(recipe.precision, ranks.device)
    if ranks.is_main and (warning := slow_precision(precision, ranks.device)):
        print(f"warning: {warning}", flush=True)
    environment.prepare(ranks.device, recipe.engine.deterministic, recipe.engine.tf32)
    if recipe.engine.compile:
        ranks.run_collectively(lambda: check_compiler(ranks.device))
    ranks.run_collectively(lambda: build.add_decoder(game, recipe, specs, ranks.device))
    if recipe.engine.name != "fsdp":        # which moves a rank's parts alone
        build.on_device(game, ranks.device)
    averages = Averages(recipe, {name: game.players[name] for name in game.averaged})
    player_optimizers = optimizers.make(recipe.optimizer, game, allocate=recipe.engine.name == "ddp")
    engine = choice.make(recipe.engine, game, player_optimizers, ranks, micro_batch, precision)
    engine.adopt(averages)

    share = recipe.batch_size // ranks.world_size
    lanes_here = recipe.lanes // ranks.world_size
    lanes = range(ranks.rank * lanes_here, (ranks.rank + 1) * lanes_here)
    conditions = {name: source.conditions for name, source in sources.items()}
    loader = BatchLoader(recipe.seed, 0, recipe.batch_size, ranks.rank * share, ranks.device, {
        name: StreamSettings(sources[source.flips_with].settings.flip,
                             None if conditions[name] is None else conditions[name].to(ranks.device),
                             source.flips_with, source.spec.latents)
        for name, source in sources.items()})

    def open_streams(position: int) -> Streams:
        return Streams({name: source.open(lanes, position, ranks.device.type == "cuda")
                        for name, source in sources.items()})

    painter = Painter(recipe, game, sources, ranks.device)
    config = _identified(recipe, game, sources)
    records = environment.record(ranks, micro_batch, precision, recipe.engine)
    checkpoints = Checkpoints(folder / "checkpoints", ranks, recipe.checkpoint.keep)
    target = game.target or next(iter(specs))
    labels = summary(conditions[target], specs[target], sources[target].captions)
    networks = described(config, specs, game, labels=labels)
    networks.pop("recipe")
    run = Run(recipe, folder, ranks, game, player_optimizers, engine, averages, loader, open_streams, checkpoints,
              {"recipe": config, "environment": records, "networks": networks}, painter.samples, lock,
              partial(optimizers.schedule, player_optimizers, recipe.optimizer, game))
    if recipe.eval.every_images:
        build.make_evaluation_sets(recipe, ranks)
        run.evaluate = ranks.run_collectively(lambda: build.evaluator(recipe, game, specs, ranks))
    if recipe.engine.compile and recipe.log.profile_updates:
        run.utilisation.of_phases = _flops_if_eager(recipe, specs, run)
    for line in resume(run, config, records):
        _say(run, line)
    if ranks.is_main and DECODER in game.fixed:
        decoders.put(folder, game.fixed[DECODER])
    if ranks.is_main and not (folder / "reals.png").exists():
        painter.reals(folder / "reals.png")
    for line in introduction(run, sources):
        _say(run, line)
    return run


def _identified(recipe: Recipe, game: Game, sources: Mapping[str, opening.Source]) -> dict[str, Any]:
    """The recipe, with the rest of the run's identity: content hashes of its data and digests of frozen networks."""
    config = loading.to_dict(opening.located(recipe))
    first, *others = sources
    config["data"]["content"] = sources[first].content
    for name in others:
        config["streams"][name]["content"] = sources[name].content
    if game.fixed:
        config["fixed"] = {name: digest_of(network) for name, network in game.fixed.items()}
    return config


def _flops_if_eager(recipe: Recipe, specs: Mapping[str, Spec], run: Run) -> dict[str, int]:
    """Operations of this rank's updates by phase, counted on a copy without data: compiled code cannot be counted."""
    from scalegan.training.costs import Costs

    micro_batch = run.engine.micro_batch
    costs = Costs(replace(recipe, engine=replace(recipe.engine, compile=False)), specs, run.engine.precision)
    micro_batches = recipe.batch_size // run.ranks.world_size // micro_batch
    return {phase.name: micro_batches * costs.micro_batch(phase, micro_batch).flops for phase in costs.game.phases}


def _print_outcome(run: Run, outcome: Outcome) -> None:
    if outcome is Outcome.INTERRUPTED:
        _say(run, f"stopped at {run.progress.images:,} images and saved; run the same command again to resume")
        return
    _say(run, f"finished at {run.progress.images:,} images: {run.folder}")
    picture = run.folder / "samples" / f"{run.progress.images:012d}.png"
    if picture.exists():
        _say(run, f"samples: {picture.resolve()}")


def _say(run: Run, line: str) -> None:
    if run.ranks.is_main:
        print(line, flush=True)


def _lost_a_peer(error: RuntimeError) -> bool:
    text = str(error)
    return any(word in text for word in ("Connection", "gloo", "NCCL", "peer"))
