"""Forward and backward passes as CUDA graphs: recorded once, then started by one call instead of thousands.

A small model's kernels take less time than the host takes to launch them. A graph launches the same kernels, so that
the bits are those without it. It would fix what a pass reads from the host, so that draws are keyed on positions that
lie on the device, and so do the values that follow schedules in images.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import torch
from torch import Tensor

from scalegan.games.base import Batch, Game, Sample
from scalegan.games.pool import Pool
from scalegan.schedules import Moving, at

Pass = Callable[[Batch], dict[tuple, Tensor]]
_WARM_UPS = 3       # passes before the first recording, in which kernels are compiled and constants made


class _Images:
    """Stands for the images seen. Values of schedules are read from the device (`scalegan.schedules.Followed`); a pass
    that depends on images in any other way refuses to be recorded."""

    def __init__(self, images: int, device: torch.device) -> None:
        self._images, self._device = images, device
        self._values: dict[int, tuple[Moving, Tensor]] = {}

    def move(self, images: int) -> None:
        for schedule, value in self._values.values():
            value.fill_(at(schedule, images))

    def value_of(self, schedule: Moving) -> Tensor:
        if id(schedule) not in self._values:
            value = torch.tensor(at(schedule, self._images), dtype=torch.float64, device=self._device)
            self._values[id(schedule)] = schedule, value
        return self._values[id(schedule)][1]

    def _refuse(self, *_: object) -> NoReturn:
        raise TypeError("a value depends on the images seen, which a graph would fix")

    __sub__ = __rsub__ = __add__ = __mul__ = __truediv__ = __lt__ = __le__ = __gt__ = __ge__ = __float__ = _refuse


@dataclass(frozen=True)
class _Recorded:
    """A graph with the batch that it reads and the results that it writes, at the places that it knows."""

    host: tuple
    batch: Batch
    results: dict[tuple, Tensor]
    replay: Callable[[], None]


def _cuda_graph(work: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
    """Each graph has memory of its own, or a phase's gradients could not wait while another phase runs."""
    graph = torch.cuda.CUDAGraph()
    # Other threads save checkpoints and move batches meanwhile, which is no concern of the graph's.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        results = work()
    return results, graph.replay


def recordable(game: Game) -> bool:
    """Whether the passes of all phases can probably be recorded: no pool takes samples over, no norm group spans
    ranks."""
    return not any(isinstance(module, Pool) or getattr(module, "spanning", None) for module in game.modules())


class Graphs:
    """Records the passes of each phase of a game once they have run a few times, and replays them.

    A phase whose pass cannot be recorded goes on without a graph, with a warning.

    Args:
        record: runs a function so that what it does on the device can be done again; returns its results, and what does
            it again. Tests, which have no GPU, bring their own.
    """

    def __init__(self, record: Callable[[Callable[[], Any]], tuple[Any, Callable[[], None]]] = _cuda_graph) -> None:
        self._record = record
        self._seen: dict[str, int] = {}
        self._recorded: dict[str, _Recorded | None] = {}

    def run(self, phase: str, run_pass: Pass, batch: Batch) -> dict[tuple, Tensor]:
        """What `run_pass(batch)` returns. Gradients, if recorded, are overwritten by the phase's next pass."""
        self._seen[phase] = self._seen.get(phase, 0) + 1
        if self._seen[phase] <= _WARM_UPS or self._recorded.get(phase, 0) is None:
            return run_pass(batch)
        known = self._recorded.get(phase)
        if known is None or known.host != _host_side(batch):        # a rollback draws anew
            try:
                known = self._recorded[phase] = self._new(run_pass, batch)
            except (RuntimeError, TypeError) as error:
                self._recorded[phase] = None
                warnings.warn(f"phase {phase} runs without a CUDA graph: {str(error).splitlines()[0]}", RuntimeWarning,
                              stacklevel=2)
                return run_pass(batch)
        known.batch.images.move(batch.images)
        torch._foreach_copy_(_tensors(known.batch), _tensors(batch))
        known.replay()
        return known.results | _copied({key: value for key, value in known.results.items() if key[0] != "gradient"})

    def leave_out(self, phase: str) -> None:
        """The phase's passes have effects that a graph would not repeat; says so before the first is recorded."""
        self._recorded[phase] = None

    def _new(self, run_pass: Pass, batch: Batch) -> _Recorded:
        streams = {name: Sample(sample.data.clone(), None if sample.condition is None else sample.condition.clone())
                   for name, sample in batch.streams.items()}
        fixed = replace(batch, streams=streams, draws=replace(batch.draws, positions=batch.draws.positions.clone()),
                        images=_Images(batch.images, batch.draws.positions.device), figures={},
                        given={name: c.clone() for name, c in batch.given.items()})
        run_pass(fixed)         # meets all schedules: a graph would set a value that it makes itself back, every time
        results, replay = self._record(lambda: run_pass(fixed))
        return _Recorded(_host_side(batch), fixed, results, replay)


def _copied(results: dict[tuple, Tensor]) -> dict[tuple, Tensor]:
    """Copies, in a few kernels however many there are."""
    copies = {key: torch.empty_like(value) for key, value in results.items()}
    if copies:
        torch._foreach_copy_(list(copies.values()), list(results.values()))
    return copies


def _tensors(batch: Batch) -> list[Tensor]:
    """What differs from batch to batch, on the device."""
    samples = [tensor for sample in batch.streams.values() for tensor in (sample.data, sample.condition)]
    return [tensor for tensor in [batch.draws.positions, *samples, *batch.given.values()] if tensor is not None]


def _host_side(batch: Batch) -> tuple:
    """What a recording fixes."""
    shapes = [(tuple(tensor.shape), tensor.dtype) for tensor in _tensors(batch)]
    tables = {name: id(table) for name, table in batch.tables.items()}
    return batch.draws.seed, batch.draws.attempt, batch.draws.purpose, shapes, tables
