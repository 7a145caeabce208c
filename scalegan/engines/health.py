"""Skips updates whose loss or gradient is not finite: decided, counted and undone on the device.

An update never waits for the device. The counters are read with everything else, at reports and saves.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


class Health:
    """How many updates of each phase were skipped.

    Args:
        phases: names of the phases.
        device: of the counters.

    Attributes:
        skipped: by phase, the updates skipped because something was not finite; int64 [].
        overflows: by phase, those skipped because fp16's loss scale was too large, which is harmless.
    """

    def __init__(self, phases: Sequence[str], device: torch.device) -> None:
        self.skipped, self.overflows, self._in_a_row = (
            {name: torch.zeros((), dtype=torch.int64, device=device) for name in phases} for _ in range(3))

    @property
    def in_a_row(self) -> Tensor:
        """The longest current run of skipped updates, int64 []. A good update ends only its own phase's run, so that
        a generator that still trains does not hide a discriminator that sees nothing but NaN."""
        return torch.stack(list(self._in_a_row.values())).amax()

    def note(self, phase: str, bad: Tensor, overflow: Tensor | None = None) -> None:
        """Counts an update, good unless `bad` or `overflow` (bool []; None where nothing overflows, outside fp16)."""
        self.skipped[phase] += bad
        count = self._in_a_row[phase]
        in_a_row = (count + 1) * bad
        if overflow is not None:
            self.overflows[phase] += overflow
            in_a_row = torch.where(overflow, count, in_a_row)
        count.copy_(in_a_row)

    def state(self) -> dict[str, dict[str, int]]:
        """The counters, for JSON."""
        return {phase: {"skipped": int(self.skipped[phase]), "overflows": int(self.overflows[phase]),
                        "in_a_row": int(self._in_a_row[phase])} for phase in self.skipped}

    def restore(self, state: Mapping[str, Mapping[str, Any]]) -> None:
        """Restores what `state` returned; phases missing from it start at 0."""
        for name, counters in (("skipped", self.skipped), ("overflows", self.overflows), ("in_a_row", self._in_a_row)):
            for phase, counter in counters.items():
                counter.fill_(state.get(phase, {}).get(name, 0))


@contextlib.contextmanager
def undone_where(skip: Tensor, tensors: Sequence[Tensor]) -> Iterator[None]:
    """Undoes what the block does to `tensors` if `skip` (bool []) is true."""
    alike: dict[torch.dtype, list[Tensor]] = {}
    for tensor in tensors:
        alike.setdefault(tensor.dtype, []).append(tensor)
    kept = [(members, _end_to_end(members)) for members in alike.values()]
    yield
    with torch.no_grad():
        for members, before in kept:
            parts = torch.where(skip, before, _end_to_end(members)).split([tensor.numel() for tensor in members])
            torch._foreach_copy_(members, [part.view(tensor.shape) for part, tensor in zip(parts, members)])


@contextlib.contextmanager
def stepping_unless(skip: Tensor, optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Within the block, a step of `optimizer` leaves weights and state unchanged if `skip` (bool []) is true."""
    if getattr(optimizer, "_step_supports_amp_scaling", False):  # fused optimizers check the flag themselves
        optimizer.found_inf = skip.float()
        try:
            yield
        finally:
            del optimizer.found_inf
        return
    kept: list[tuple[Tensor, Tensor]] = []
    handles = [optimizer.register_step_pre_hook(lambda *_: kept.extend(_copies(_weights_and_state(optimizer)))),
               optimizer.register_step_post_hook(lambda *_: _restore_if(skip, kept))]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def _end_to_end(tensors: Sequence[Tensor]) -> Tensor:
    """A copy of all elements, [n]: one operation, however many tensors there are."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def _weights_and_state(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    return parameters + [value for p in parameters for value in optimizer.state[p].values()
                         if isinstance(value, Tensor)]


@torch.no_grad()
def _copies(tensors: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    return [(tensor, tensor.clone()) for tensor in tensors]


@torch.no_grad()
def _restore_if(skip: Tensor, kept: Sequence[tuple[Tensor, Tensor]]) -> None:
    for tensor, old in kept:
        tensor.copy_(torch.where(skip, old, tensor))
