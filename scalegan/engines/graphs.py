"""Forward and backward passes as CUDA graphs: recorded once, then started by one call instead of thousands.

A small model's kernels take less time than the host takes to launch them. A graph launches the same kernels, so that
the bits are those without it. It would fix what a pass reads from the host: draws are keyed on positions that lie on
the device, and a value that follows a schedule in images refuses to be recorded.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import torch
from torch import Tensor

from scalegan.games.base import Batch, Sample

Pass = Callable[[Batch], dict[tuple, Tensor]]
_WARM_UPS = 3       # passes before the first recording, in which kernels are compiled and constants made


class _Changing:
    """Stands for the images seen, on which nothing that is recorded may depend."""

    def _refuse(self, *_: object) -> NoReturn:
        raise TypeError("a value follows a schedule in images, which a graph would fix")

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
        for place, tensor in zip(_tensors(known.batch), _tensors(batch), strict=True):
            place.copy_(tensor)
        known.replay()
        return {key: value if key[0] == "gradient" else value.clone() for key, value in known.results.items()}

    def leave_out(self, phase: str) -> None:
        """The phase's passes have effects that a graph would not repeat; says so before the first is recorded."""
        self._recorded[phase] = None

    def _new(self, run_pass: Pass, batch: Batch) -> _Recorded:
        streams = {name: Sample(sample.data.clone(), None if sample.condition is None else sample.condition.clone())
                   for name, sample in batch.streams.items()}
        fixed = replace(batch, streams=streams, draws=replace(batch.draws, positions=batch.draws.positions.clone()),
                        images=_Changing(), figures={}, given={name: c.clone() for name, c in batch.given.items()})
        results, replay = self._record(lambda: run_pass(fixed))
        return _Recorded(_host_side(batch), fixed, results, replay)


def _tensors(batch: Batch) -> list[Tensor]:
    """What differs from batch to batch, on the device."""
    samples = [tensor for sample in batch.streams.values() for tensor in (sample.data, sample.condition)]
    return [tensor for tensor in [batch.draws.positions, *samples, *batch.given.values()] if tensor is not None]


def _host_side(batch: Batch) -> tuple:
    """What a recording fixes."""
    shapes = [(tuple(tensor.shape), tensor.dtype) for tensor in _tensors(batch)]
    tables = {name: id(table) for name, table in batch.tables.items()}
    return batch.draws.seed, batch.draws.attempt, batch.draws.purpose, shapes, tables
