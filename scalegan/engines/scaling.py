"""Dynamic loss scaling for fp16 (Micikevicius et al., "Mixed precision training", ICLR 2018, section 3.2)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

_INITIAL = 2.0**16
_GROWTH_INTERVAL = 2000


class LossScale:
    """The factor by which a phase's loss is multiplied, so that small gradients do not vanish in fp16.

    Halved after an overflow, doubled after 2,000 updates without one. Constants and state keys are those of torch's
    GradScaler, which waits for the device at each step of an optimizer that is not fused, and works with DDP only.
    """

    def __init__(self, device: torch.device) -> None:
        self.scale = torch.full((), _INITIAL, device=device)
        self._growth_tracker = torch.zeros((), dtype=torch.int32, device=device)

    def advance(self, overflow: Tensor) -> None:
        """Adapts the scale after an update; `overflow` (bool []) says whether its gradients overflowed."""
        good = self._growth_tracker + 1
        grown = good >= _GROWTH_INTERVAL
        larger = torch.where(grown & (self.scale * 2).isfinite(), self.scale * 2, self.scale)
        self.scale.copy_(torch.where(overflow, self.scale * 0.5, larger))
        self._growth_tracker.copy_(torch.where(overflow | grown, 0, good))

    def state(self) -> dict[str, float]:
        return {"scale": float(self.scale), "_growth_tracker": int(self._growth_tracker)}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.scale.fill_(state["scale"])
        self._growth_tracker.fill_(state["_growth_tracker"])
