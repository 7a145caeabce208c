"""Bias, leaky ReLU and clamp in one operation, whose derivatives of any order need only its output.

On a GPU, one Triton kernel computes it and another its derivative, as the operators `scalegan::leaky_` and
`scalegan::leaky_backward`; elsewhere, and for tensors that are not dense in memory, PyTorch's own operations do.
"""

import functools
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from scalegan import kernels


def leaky_relu(x: Tensor, bias: Tensor | None = None, gain: float = 1.0, slope: float = 0.2,
               clamp: float | None = None) -> Tensor:
    """Leaky ReLU of x + gain * bias, clamped to +-`clamp`; works in place: x must not be needed elsewhere.

    Args:
        x: [N, C, ...], of any floating-point dtype.
        bias: [C]; its gradient is summed in its own dtype, which may differ from x's.
    """
    if torch.compiler.is_compiling():                   # the compiler fuses them itself
        y = F.leaky_relu(x if bias is None else x + _as_x(bias, gain, x), slope)
        return y if clamp is None else y.clamp(-clamp, clamp)
    bound = math.inf if clamp is None else _rounded(clamp, x.dtype)
    if torch.is_grad_enabled() and (x.requires_grad or (bias is not None and bias.requires_grad)):
        return _Leaky.apply(x, bias, gain, slope, bound)
    return _activate(x, bias, gain, slope, bound)


@functools.cache
def _rounded(bound: float, dtype: torch.dtype) -> float:
    """The bound rounded to that dtype: clamped values are recognised by being equal to it."""
    if dtype == torch.bfloat16:                         # not in NumPy: rounds to nearest, ties to even
        bits = int(np.float32(bound).view(np.uint32))
        return float(np.uint32((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).view(np.float32))
    return float({torch.float16: np.float16, torch.float32: np.float32}.get(dtype, np.float64)(bound))


class _Leaky(Function):
    @staticmethod
    def forward(ctx, x: Tensor, bias: Tensor | None, gain: float, slope: float, bound: float) -> Tensor:
        ctx.settings, ctx.gain, ctx.dtype = (slope, bound), gain, None if bias is None else bias.dtype
        y = _activate(x, bias, gain, slope, bound)
        ctx.mark_dirty(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple:
        y, = ctx.saved_tensors
        of_x = _Slope.apply(grad, y.detach(), *ctx.settings)
        of_bias = None
        if ctx.needs_input_grad[1]:
            of_bias = of_x.sum([0, *range(2, y.dim())], dtype=ctx.dtype)
            of_bias = of_bias if ctx.gain == 1 else of_bias * ctx.gain
        return of_x, of_bias, None, None, None


class _Slope(Function):
    """grad times the slope at y, which is piecewise constant: the derivative is the same operation again."""

    @staticmethod
    def forward(ctx, grad: Tensor, y: Tensor, slope: float, bound: float) -> Tensor:
        ctx.settings = slope, bound
        ctx.save_for_backward(y)
        return _differentiate(grad, y, slope, bound)

    @staticmethod
    def backward(ctx, second: Tensor) -> tuple:
        return _Slope.apply(second, ctx.saved_tensors[0], *ctx.settings), None, None, None


def _activate(x: Tensor, bias: Tensor | None, gain: float, slope: float, bound: float) -> Tensor:
    """In place."""
    if kernels.on_gpu(x):
        _leaky(x, bias, gain, slope, bound)
    else:
        _activate_plainly(x, bias, gain, slope, bound)
    return x


def _differentiate(grad: Tensor, y: Tensor, slope: float, bound: float) -> Tensor:
    """grad where y is above zero, slope * grad below, and zero where y was clamped."""
    run = _leaky_backward if kernels.on_gpu(y) else _differentiate_plainly
    return run(grad, y, slope, bound)


def _activate_plainly(x: Tensor, bias: Tensor | None, gain: float, slope: float, bound: float) -> None:
    if bias is not None:
        x += _as_x(bias, gain, x)
    F.leaky_relu_(x, slope)
    if bound < math.inf:
        x.clamp_(-bound, bound)


def _differentiate_plainly(grad: Tensor, y: Tensor, slope: float, bound: float) -> Tensor:
    found = torch.ops.aten.leaky_relu_backward(grad, y, slope, True)
    return found if bound == math.inf else torch.ops.aten.hardtanh_backward(found, y, -bound, bound)


def _as_x(bias: Tensor, gain: float, x: Tensor) -> Tensor:
    scaled = bias if gain == 1 else bias * gain
    return scaled.to(x.dtype).view(-1, *[1] * (x.dim() - 2))


@kernels.operator("leaky_(Tensor(a!) x, Tensor? bias, float gain, float slope, float bound) -> ()",
                  lambda x, bias, gain, slope, bound: None)
def _leaky(x: Tensor, bias: Tensor | None, gain: float, slope: float, bound: float) -> None:
    fused = _activate_in_one_kernel if _dense(x) else _activate_plainly
    kernels.run("leaky_relu", fused, _activate_plainly, x, bias, gain, slope, bound)


@kernels.operator("leaky_backward(Tensor grad, Tensor y, float slope, float bound) -> Tensor",
                  lambda grad, y, slope, bound: torch.empty_like(y))
def _leaky_backward(grad: Tensor, y: Tensor, slope: float, bound: float) -> Tensor:
    fused = _differentiate_in_one_kernel if _dense(y) else _differentiate_plainly
    return kernels.run("leaky_relu", fused, _differentiate_plainly, grad, y, slope, bound)


def _dense(x: Tensor) -> bool:
    """Whether the kernels support its memory layout and its dtype."""
    known = x.dtype in (torch.float32, torch.bfloat16, torch.float16)
    return known and (x.is_contiguous() or (x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)))


def _activate_in_one_kernel(x: Tensor, bias: Tensor | None, gain: float, slope: float, bound: float) -> None:
    from scalegan.kernels import leaky_triton
    leaky_triton.activate(x, bias, gain, slope, bound)


def _differentiate_in_one_kernel(grad: Tensor, y: Tensor, slope: float, bound: float) -> Tensor:
    from scalegan.kernels import leaky_triton
    return leaky_triton.differentiate(grad, y, slope, bound)
