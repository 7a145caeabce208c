"""Multi-process training and checkpoints: speed-up from a second process, cost of ZeRO, time that a save blocks."""

import itertools
import tempfile
from pathlib import Path

import torch

from scalegan import config
from scalegan.checkpoints.store import Checkpoints
from scalegan.config import loading
from scalegan.data.spec import Spec
from scalegan.engines import choice, optimizers
from scalegan.engines.base import Engine
from scalegan.engines.precision import choose_precision
from scalegan.engines.ranks import Ranks
from scalegan.games.base import Batch
from scalegan.randomness import Draws
from scalegan.training import build
from tools.benchmarks.harness import Result, alternate, faster, seconds, shorter
from tools.benchmarks.workers import Measure, Workers

_BATCH = 64
_ZERO1 = config.Engine(name="deepspeed", zero_stage=1)


def async_vs_sync_blocking() -> Result:
    """How long an asynchronous save of 0.3 GB (DCGAN-64, twice as wide) blocks 2 ranks, against a blocking save."""
    return _blocking("async_vs_sync_blocking", config.Engine())


def async_vs_sync_blocking_zero1() -> Result:
    """The same with the optimizer state partitioned by ZeRO-1."""
    return _blocking("async_vs_sync_blocking_zero1", _ZERO1)


def ddp2_vs_one_process() -> Result:
    """Images per second of DCGAN-64 on 2 processes against one, each with one thread. The global batch is the same, as
    it is when a run moves to more ranks."""
    return _two_beside_one("ddp2_vs_one_process", _BATCH)


def ddp2_vs_one_process_same_share() -> Result:
    """The same with the single process's batch on each of the two: communication and optimizer count half as much."""
    return _two_beside_one("ddp2_vs_one_process_same_share", 2 * _BATCH)


def ddp2_vs_two_alone() -> Result:
    """Images per second of DCGAN-64 on 2 processes, against 2 that train on half the batch each without communicating:
    the cost of communication and waiting, whatever the second core is worth."""
    with (Workers(2, _update, config.Engine(), _BATCH) as two,
          Workers(2, _update, config.Engine(), _BATCH // 2, group=False) as alone):
        value, reference = alternate(lambda: _BATCH / two.measure("update"), lambda: _BATCH / alone.measure("update"),
                                     rounds=9)
    return faster("ddp2_vs_two_alone", "images/s", value, "2 independent processes", reference)


def _two_beside_one(name: str, batch: int) -> Result:
    with Workers(2, _update, config.Engine(), batch) as two, Workers(1, _update, config.Engine()) as one:
        value, reference = alternate(lambda: batch / two.measure("update"), lambda: _BATCH / one.measure("update"),
                                     rounds=9)
    return faster(name, "images/s", value, "one process, one thread", reference)


def zero1_vs_ddp() -> Result:
    """Images per second of DCGAN-64 with ZeRO-1 on 2 processes, against DDP on 2."""
    with Workers(2, _update, _ZERO1) as zero, Workers(2, _update, config.Engine()) as ddp:
        value, reference = alternate(lambda: _BATCH / zero.measure("update"), lambda: _BATCH / ddp.measure("update"),
                                     rounds=9)
    return faster("zero1_vs_ddp", "images/s", value, "DDP on 2 processes", reference)


def _blocking(name: str, settings: config.Engine) -> Result:
    with tempfile.TemporaryDirectory() as scratch, Workers(2, _saves, settings, scratch) as workers:
        value, reference = alternate(lambda: workers.measure("begun"), lambda: workers.measure("finished"))
    return shorter(name, "seconds blocked", value, "blocking save", reference)


def _engine(ranks: Ranks, settings: config.Engine, width: int, batch: int = _BATCH) -> Engine:
    """An engine for DCGAN at 64 px."""
    recipe = loading.parse({"run_dir": "-", "total_images": 1, "batch_size": batch, "data": {"path": "-"},
                            "model": {"name": "dcgan", "width": width}}, "benchmark")
    game = build.on_device(build.game(recipe, {"real": Spec("image", (3, 64, 64))}), ranks.device)
    return choice.make(settings, game, optimizers.make(recipe.optimizer, game), ranks, batch // ranks.world_size,
                       choose_precision("auto", ranks.device))


def _update(ranks: Ranks, settings: config.Engine, batch: int = _BATCH) -> dict[str, Measure]:
    """One update of every phase, on images in memory."""
    engine = _engine(ranks, settings, 64, batch)
    share = batch // ranks.world_size
    reals = torch.zeros(share, 3, 64, 64, device=ranks.device).contiguous(memory_format=torch.channels_last)
    positions = torch.arange(ranks.rank * share, (ranks.rank + 1) * share, device=ranks.device)

    def update() -> None:
        for phase in engine.game.phases:
            engine.update(phase, Batch.of(reals, Draws(0, 0, phase.name, positions)))
    return {"update": lambda: seconds(update)}


def _saves(ranks: Ranks, settings: config.Engine, folder: str) -> dict[str, Measure]:
    """A save that continues in the background, and one that blocks until it is done."""
    engine = _engine(ranks, settings, 128)
    tensors = {f"game/{name}": tensor for name, tensor in engine.game.state_dict().items()}
    tensors |= {f"ema/{name}": tensor.clone() for name, tensor in engine.game.G.state_dict().items()}
    tensors |= engine.optimizer_state()
    checkpoints = Checkpoints(Path(folder), ranks, keep=2)
    numbers = itertools.count(1)

    def save(wait: bool) -> float:
        blocked = seconds(lambda: checkpoints.save(next(numbers), tensors, {}, wait))
        checkpoints.finish()
        return blocked
    return {"begun": lambda: save(False), "finished": lambda: save(True)}


BENCHMARKS = {benchmark.__name__: benchmark for benchmark in (
    async_vs_sync_blocking, async_vs_sync_blocking_zero1, ddp2_vs_one_process, ddp2_vs_one_process_same_share,
    ddp2_vs_two_alone, zero1_vs_ddp)}
