"""Half precision where a network asks for it, and nowhere else."""

import contextlib

import torch
from torch import Tensor


def half_dtype(x: Tensor) -> torch.dtype | None:
    """The dtype of autocast on this tensor's device; None outside autocast."""
    kind = x.device.type
    if not torch.amp.is_autocast_available(kind) or not torch.is_autocast_enabled(kind):
        return None
    return torch.get_autocast_dtype(kind)


def wide_dtype(weight: Tensor) -> torch.dtype:
    """The dtype of the full-precision parts: fp32, or fp64 if the weights are (for checks of derivatives)."""
    return torch.promote_types(weight.dtype, torch.float32)


def without_autocast(x: Tensor) -> contextlib.AbstractContextManager:
    """A context in which tensors keep the dtype that the network gave them; autocast would choose one per operation."""
    kind = x.device.type
    available = torch.amp.is_autocast_available(kind)
    return torch.autocast(kind, enabled=False) if available else contextlib.nullcontext()
