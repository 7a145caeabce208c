"""Bias, leaky ReLU and clamp in one pass over memory, and their derivative; see `scalegan.kernels.leaky`."""

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 1024


def activate(x: Tensor, bias: Tensor | None, gain: float, slope: float, bound: float) -> None:
    """In place; x [N, C, ...] is contiguous, or has its channels last."""
    inner = x.stride(1) if x.dim() > 1 and x.shape[1] > 1 else 1
    with torch.cuda.device_of(x):
        _activate[triton.cdiv(x.numel(), _BLOCK),](x, x if bias is None else bias, x.numel(), x.shape[1], inner, gain,
                                                   slope, bound, BIASED=bias is not None, BLOCK=_BLOCK)


def differentiate(grad: Tensor, y: Tensor, slope: float, bound: float) -> Tensor:
    """As y lies."""
    if grad.stride() != y.stride():
        grad = torch.empty_like(y).copy_(grad)
    found = torch.empty_like(y)
    with torch.cuda.device_of(y):
        _differentiate[triton.cdiv(y.numel(), _BLOCK),](grad, y, found, y.numel(), slope, bound, BLOCK=_BLOCK)
    return found


@triton.jit
def _activate(x, bias, n, channels, inner, gain, slope, bound, BIASED: tl.constexpr, BLOCK: tl.constexpr):
    first = tl.program_id(0).to(tl.int64) * BLOCK
    x += first
    offset = tl.arange(0, BLOCK)
    inside = offset < n - first
    value = tl.load(x + offset, mask=inside).to(tl.float32)
    if BIASED:
        place = (first % (channels * inner)).to(tl.int32) + offset      # small numbers, which divide faster
        value += tl.load(bias + (place // inner) % channels).to(tl.float32) * gain
    value = tl.where(value > 0, value, value * slope)
    value = tl.where(value > bound, bound, tl.where(value < -bound, -bound, value))     # what is no number stays none
    tl.store(x + offset, value.to(x.dtype.element_ty), mask=inside)


@triton.jit
def _differentiate(grad, y, found, n, slope, bound, BLOCK: tl.constexpr):
    first = tl.program_id(0).to(tl.int64) * BLOCK
    offset = tl.arange(0, BLOCK)
    inside = offset < n - first
    value = tl.load(y + first + offset, mask=inside).to(tl.float32)
    slant = tl.load(grad + first + offset, mask=inside).to(tl.float32)
    slant = tl.where(value > 0, slant, slant * slope)
    slant = tl.where(tl.abs(value) >= bound, 0.0, slant)
    tl.store(found + first + offset, slant.to(found.dtype.element_ty), mask=inside)
