"""Updates of a recipe's phases on images in memory, as training makes them, and what one is measured by."""

import gc
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from scalegan.config import loading
from scalegan.config.ranks import check_world
from scalegan.data.spec import Spec
from scalegan.engines import optimizers
from scalegan.engines.ddp import DDPEngine
from scalegan.engines.graphs import Graphs
from scalegan.engines.precision import choose_precision
from scalegan.engines.ranks import Ranks
from scalegan.games.base import Batch, Phase, Sample
from scalegan.randomness import Draws
from scalegan.support.flops import FlopCounter
from scalegan.training import build, environment
from scalegan.training.costs import specs_of
from tools.gpu_checking.check import device, timed, wait

SEEN = 20_000_000       # images, for schedules: half-way for R3GAN, whose augmentation begins at nothing
_TOP = 12


class Stepper:
    """A recipe's game and engine, with a batch that stays.

    Args:
        keys: of the recipe, as on the command line; one rank has the whole batch.
        deterministic, cuda_graphs: as the keys of `engine` have it.
    """

    def __init__(self, keys: list[str], deterministic: bool = True, cuda_graphs: bool = False) -> None:
        self._deterministic = deterministic
        self.take_flags()
        recipe = loading.load([*keys, "run_dir=none", "data.path=none"])
        self.device, self.batch = device(), recipe.batch_size
        specs = specs_of(recipe)
        self.game = build.on_device(build.game(recipe, specs), self.device)
        self.precision = choose_precision(recipe.precision, self.device)
        self.micro_batch = check_world(recipe, 1)
        self.engine = DDPEngine(self.game, optimizers.make(recipe.optimizer, self.game), Ranks(0, 1, self.device),
                                self.micro_batch, self.precision, graphs=Graphs() if cuda_graphs else None)
        self._streams = {name: self._samples(spec) for name, spec in specs.items()}
        self._tables = {name: sample.condition for name, sample in self._streams.items()
                        if sample.condition is not None}
        self._updates = 0

    def take_flags(self) -> None:
        """Sets what is set for the whole process, so that two steppers, or a peer, can take turns."""
        environment.prepare(device(), self._deterministic)

    def update(self, phase: Phase) -> None:
        """One update, on the same samples with fresh draws."""
        first = self._updates * self.batch
        positions = torch.arange(first, first + self.batch, device=self.device)
        self._updates += 1
        self.engine.update(phase, Batch(self._streams, Draws(0, 0, phase.name, positions), self._tables, SEEN))

    def share(self, phase: Phase) -> float:
        """Updates of a phase in an iteration, on average."""
        return phase.updates / phase.every

    def _samples(self, spec: Spec) -> Sample:
        draw = torch.Generator().manual_seed(0)
        data = spec.empty(self.batch).uniform_(-1, 1, generator=draw)
        condition = spec.empty_condition(self.batch)
        return Sample(data.to(self.device).contiguous(memory_format=torch.channels_last),
                      None if condition is None else condition.to(self.device))


def measured(stepper: Stepper, peak: float, data_sheet: float | None, repeats: int, rounds: int,
             flops: Mapping[str, int] | None = None) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Figures of every phase, and of an iteration with its share of lazy penalties.

    Args:
        peak, data_sheet: operations per second, measured and promised.
        flops: of an update, by phase, where they cannot be counted here, as in compiled code.
    """
    phases, total = [], {"ms": 0.0, "host_ms": 0.0, "gflop": 0.0}
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    for phase in stepper.game.phases:
        def work(phase: Phase = phase) -> None:
            stepper.update(phase)

        ms, host = timed(work, repeats, rounds=rounds)
        operations = flops[phase.name] if flops else _flops(work)
        phases.append({"phase": phase.name, "every": phase.every, "ms": ms, "host_ms": host, "gflop": operations / 1e9})
        for key in total:
            total[key] += stepper.share(phase) * phases[-1][key]
    total["images_per_s"] = 1e3 * stepper.batch / total["ms"]
    total["mfu"] = total["gflop"] * 1e12 / total["ms"] / peak
    if data_sheet:
        total["mfu_of_data_sheet"] = total["gflop"] * 1e12 / total["ms"] / data_sheet
    total["peak_gb"] = torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else 0.0
    return phases, total


def profiled(work: Callable[[], object]) -> dict[str, Any]:
    """Kernels of one call: how many, the milliseconds that they take together, and the longest by name."""
    work()
    wait()
    if not torch.cuda.is_available():
        return {"kernels": 0, "kernel_ms": 0.0, "top": []}
    with profile(activities=[ProfilerActivity.CUDA]) as found:      # operators would be many more events to read
        work()
        wait()
    times: dict[str, list[float]] = {}
    for event in found.events():
        if event.device_type == DeviceType.CUDA and not event.is_user_annotation:
            times.setdefault(event.name, []).append(event.device_time)
    longest = sorted(times, key=lambda name: -sum(times[name]))
    calls = sum(event.count for event in found.key_averages() if "LaunchKernel" in event.key)
    return {"kernels": sum(map(len, times.values())), "launch_calls": calls,
            "kernel_ms": sum(map(sum, times.values())) / 1e3,
            "top": [[name[:110], len(times[name]), round(sum(times[name]) / 1e3, 4)] for name in longest[:_TOP]]}


def release() -> None:
    """Gives back what the last case held."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _flops(work: Callable[[], object]) -> int:
    with FlopCounter() as counter:
        work()
    return counter.flops
