"""Updates that were not made because a loss or a gradient was not finite: decided, counted and undone on the device.

The host never asks in a quiet update. It reads the counters where it reads everything else, at reports and saves.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


class Health:
    """How many updates of each phase were skipped.

    Args:
        phases: their names.
        device: where the counters lie.

    Attributes:
        skipped: by phase, the updates skipped because something was not finite; int64 [].
        overflows: by phase, those skipped because fp16's loss scale was too large, which is nothing to worry about.
    """

    def __init__(self, phases: Sequence[str], device: torch.device) -> None:
        self.skipped, self.overflows, self._rows = (
            {name: torch.zeros((), dtype=torch.int64, device=device) for name in phases} for _ in range(3))

    @property
    def in_a_row(self) -> Tensor:
        """The longest run of skipped updates that lasts, int64 []. A good update ends that of its own phase alone: a
        discriminator that sees nothing but NaN is not excused by a generator that trains on."""
        return torch.stack(list(self._rows.values())).amax()

    def note(self, phase: str, bad: Tensor, overflow: Tensor) -> None:
        """Counts an update, good unless `bad` or `overflow` (bool [])."""
        self.skipped[phase] += bad
        self.overflows[phase] += overflow
        row = self._rows[phase]
        row.copy_(torch.where(overflow, row, (row + 1) * bad))

    def state(self) -> dict[str, dict[str, int]]:
        """The counters, as JSON keeps them."""
        return {phase: {"skipped": int(self.skipped[phase]), "overflows": int(self.overflows[phase]),
                        "in_a_row": int(self._rows[phase])} for phase in self.skipped}

    def restore(self, state: Mapping[str, Mapping[str, Any]]) -> None:
        """Takes up what `state` gave; a phase it does not know begins at 0."""
        for name, counters in (("skipped", self.skipped), ("overflows", self.overflows), ("in_a_row", self._rows)):
            for phase, counter in counters.items():
                counter.fill_(state.get(phase, {}).get(name, 0))


@contextlib.contextmanager
def undone_where(skip: Tensor, tensors: Sequence[Tensor]) -> Iterator[None]:
    """Undoes what the block does to `tensors` where `skip` (bool []) holds."""
    kept = _copies(tensors)
    yield
    _bring_back(skip, kept)


@contextlib.contextmanager
def stepping_unless(skip: Tensor, optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Within the block, a step of `optimizer` leaves weights and state as they were where `skip` (bool []) holds."""
    if getattr(optimizer, "_step_supports_amp_scaling", False):  # a fused one looks at the flag itself
        optimizer.found_inf = skip.float()
        try:
            yield
        finally:
            del optimizer.found_inf
        return
    kept: list[tuple[Tensor, Tensor]] = []
    handles = [optimizer.register_step_pre_hook(lambda *_: kept.extend(_copies(_moved_by(optimizer)))),
               optimizer.register_step_post_hook(lambda *_: _bring_back(skip, kept))]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _moved_by(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """Weights and state."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    return parameters + [value for p in parameters for value in optimizer.state[p].values()
                         if isinstance(value, Tensor)]


@torch.no_grad()
def _copies(tensors: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    return [(tensor, tensor.clone()) for tensor in tensors]


@torch.no_grad()
def _bring_back(skip: Tensor, kept: Sequence[tuple[Tensor, Tensor]]) -> None:
    for tensor, old in kept:
        tensor.copy_(torch.where(skip, old, tensor))
