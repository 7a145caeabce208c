"""Half precision where a network asks for it, and nowhere else."""

import contextlib
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd import Function


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
    enabled = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    return torch.autocast(kind, enabled=False) if enabled else contextlib.nullcontext()


def cast(tensors: Sequence[Tensor], dtype: torch.dtype) -> tuple[Tensor, ...]:
    """The tensors in that dtype, cast together, on a GPU in one launch; so are their gradients."""
    if torch.compiler.is_compiling() or all(tensor.dtype == dtype for tensor in tensors):
        return tuple(tensor.to(dtype) for tensor in tensors)
    return _Cast.apply(dtype, *tensors)


class _Cast(Function):
    @staticmethod
    def forward(ctx, dtype: torch.dtype, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.dtype = tensors[0].dtype
        copies = [torch.empty_like(tensor, dtype=dtype) for tensor in tensors]
        torch._foreach_copy_(copies, list(tensors))
        return tuple(copies)

    @staticmethod
    def backward(ctx, *grads: Tensor | None) -> tuple:
        there = [grad for grad in grads if grad is not None]
        found = iter(cast(there, ctx.dtype) if there else ())
        return None, *(None if grad is None else next(found) for grad in grads)
