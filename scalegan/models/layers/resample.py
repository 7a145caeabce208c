"""Low-pass filtered resampling with the binomial filter [1, 3, 3, 1] (Zhang, 2019; Karras et al., 2020, appendix B)."""

import functools
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from scalegan.kernels import fir

TAPS = (1, 3, 3, 1)
# Whether our Triton kernel resamples channels_last tensors on GPUs, 26 to 81 times as fast as cuDNN's depthwise
# convolutions (docs/performance.md).
TRITON_ON_GPU = True


@functools.cache        # not bounded: a CUDA graph reads them where they lie
def _kernel(channels: int, gain: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The filter as the weight of a depthwise convolution, [C, 1, 4, 4], summing to `gain`; a constant."""
    with torch.inference_mode(False), torch.no_grad():
        taps = torch.tensor(TAPS, dtype=torch.float64)
        kernel = torch.outer(taps, taps) * (gain / sum(TAPS) ** 2)
        return kernel.to(dtype).to(device).expand(channels, 1, 4, 4).contiguous()


def _kernel_for(x: Tensor, gain: float = 1.0) -> Tensor:
    return _kernel(x.shape[1], gain, x.dtype, x.device)


def blur(x: Tensor, padding: int, gain: float = 1.0) -> Tensor:
    """[N, C, H, W] -> [N, C, H + 2 padding - 3, W + 2 padding - 3]."""
    if torch.compiler.is_compiling():
        return _blur_in_graph(x, _kernel_for(x, gain), padding, gain)
    return _Blur.apply(x, padding, gain)


def downsample(x: Tensor) -> Tensor:
    """[N, C, H, W] -> [N, C, H/2, W/2]."""
    if torch.compiler.is_compiling():
        return _halve_in_graph(x, _kernel_for(x), 1.0)
    return _Halve.apply(x, 1.0)


def upsample(x: Tensor) -> Tensor:
    """[N, C, H, W] -> [N, C, 2H, 2W]; four times the adjoint of `downsample`, so that constants are preserved."""
    if torch.compiler.is_compiling():
        return _double_in_graph(x, _kernel_for(x, 4.0), 4.0)
    return _Double.apply(x, 4.0)


def _blurred(x: Tensor, kernel: Tensor, padding: int, gain: float) -> Tensor:
    if TRITON_ON_GPU and fir.known(x):
        return fir.fir(x, 1, 1, padding, gain)
    return F.conv2d(x, kernel, padding=padding, groups=x.shape[1])


def _halved(x: Tensor, kernel: Tensor, gain: float) -> Tensor:
    if TRITON_ON_GPU and fir.known(x):
        return fir.fir(x, 1, 2, 1, gain)
    return F.conv2d(x, kernel, stride=2, padding=1, groups=x.shape[1])


def _doubled(x: Tensor, kernel: Tensor, gain: float) -> Tensor:
    n, c, h, w = x.shape
    if TRITON_ON_GPU and fir.known(x):
        return fir.fir(x, 2, 1, 1, gain)
    if x.dtype not in (torch.float16, torch.bfloat16):
        return F.conv_transpose2d(x, kernel, stride=2, padding=1, groups=c)
    if x.is_contiguous(memory_format=torch.channels_last):
        spread = x.new_zeros(n, 2 * h + 1, 2 * w + 1, c).permute(0, 3, 1, 2)
    else:
        spread = x.new_zeros(n, c, 2 * h + 1, 2 * w + 1)
    spread[:, :, 1::2, 1::2] = x
    return F.conv2d(spread, kernel, padding=1, groups=c)


class _Blur(torch.autograd.Function):
    """Linear, and its adjoint is itself with another padding: the filter is symmetric.

    torch's own second derivative convolves channel by channel for the gradient of the filter, which nothing needs.
    """

    @staticmethod
    def forward(ctx, x: Tensor, padding: int, gain: float) -> Tensor:
        ctx.adjoint = _adjoint_padding(padding), gain
        return _blurred(x, _kernel_for(x, gain), padding, gain)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:
        return _Blur.apply(grad, *ctx.adjoint), None, None


def _adjoint_padding(padding: int) -> int:
    return len(TAPS) - 1 - padding


class _Halve(torch.autograd.Function):
    """Filter, then keep every second pixel. Linear: its derivative, of any order, is its adjoint.

    The adjoint is written out because torch's own derivative of a strided depthwise convolution in half precision runs
    some twenty times slower on a CPU than the convolution itself.
    """

    @staticmethod
    def forward(ctx, x: Tensor, gain: float) -> Tensor:
        ctx.gain = gain
        return _halved(x, _kernel_for(x, gain), gain)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        return _Double.apply(grad, ctx.gain), None


class _Double(torch.autograd.Function):
    """The adjoint of `_Halve`: zeros between the pixels, then the same filter (it is symmetric)."""

    @staticmethod
    def forward(ctx, x: Tensor, gain: float) -> Tensor:
        ctx.gain = gain
        return _doubled(x, _kernel_for(x, gain), gain)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        return _Halve.apply(grad, ctx.gain), None


class _Traced(torch.autograd.Function):
    """f(x, kernel), linear in x, whose derivative of any order is its adjoint: for compiled code, where the kernel is
    made in the graph; see `convolution.py`."""

    @staticmethod
    def forward(x: Tensor, kernel: Tensor, f: Callable[..., Tensor], adjoint: Callable[..., Tensor]) -> Tensor:
        return f(x, kernel)

    @staticmethod
    def setup_context(ctx, inputs: tuple, output: Tensor) -> None:
        _, kernel, ctx.f, ctx.adjoint = inputs
        ctx.save_for_backward(kernel)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None, None]:
        return _Traced.apply(grad, *ctx.saved_tensors, ctx.adjoint, ctx.f), None, None, None


@torch.compiler.allow_in_graph
def _blur_in_graph(x: Tensor, kernel: Tensor, padding: int, gain: float) -> Tensor:
    f, adjoint = (partial(_blurred, padding=p, gain=gain) for p in (padding, _adjoint_padding(padding)))
    return _Traced.apply(x, kernel, f, adjoint)


@torch.compiler.allow_in_graph
def _halve_in_graph(x: Tensor, kernel: Tensor, gain: float) -> Tensor:
    return _Traced.apply(x, kernel, partial(_halved, gain=gain), partial(_doubled, gain=gain))


@torch.compiler.allow_in_graph
def _double_in_graph(x: Tensor, kernel: Tensor, gain: float) -> Tensor:
    return _Traced.apply(x, kernel, partial(_doubled, gain=gain), partial(_halved, gain=gain))
