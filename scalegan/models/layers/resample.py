"""Low-pass filtered resampling with the binomial filter [1, 3, 3, 1] (Zhang, 2019; Karras et al., 2020, appendix B)."""

import functools

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
    return _Blur.apply(x, padding, gain)


def downsample(x: Tensor) -> Tensor:
    """[N, C, H, W] -> [N, C, H/2, W/2]."""
    return _Halve.apply(x, 1.0)


def upsample(x: Tensor) -> Tensor:
    """[N, C, H, W] -> [N, C, 2H, 2W]; four times the adjoint of `downsample`, so that constants are preserved."""
    return _Double.apply(x, 4.0)


class _Blur(torch.autograd.Function):
    """Linear, and its adjoint is itself with another padding: the filter is symmetric.

    torch's own second derivative convolves channel by channel for the gradient of the filter, which nothing needs.
    """

    @staticmethod
    def forward(ctx, x: Tensor, padding: int, gain: float) -> Tensor:
        ctx.adjoint = len(TAPS) - 1 - padding, gain
        if TRITON_ON_GPU and fir.known(x):
            return fir.fir(x, 1, 1, padding, gain)
        return F.conv2d(x, _kernel_for(x, gain), padding=padding, groups=x.shape[1])

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:
        return _Blur.apply(grad, *ctx.adjoint), None, None


class _Halve(torch.autograd.Function):
    """Filter, then keep every second pixel. Linear: its derivative, of any order, is its adjoint.

    The adjoint is written out because torch's own derivative of a strided depthwise convolution in half precision runs
    some twenty times slower on a CPU than the convolution itself.
    """

    @staticmethod
    def forward(ctx, x: Tensor, gain: float) -> Tensor:
        ctx.gain = gain
        if TRITON_ON_GPU and fir.known(x):
            return fir.fir(x, 1, 2, 1, gain)
        return F.conv2d(x, _kernel_for(x, gain), stride=2, padding=1, groups=x.shape[1])

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        return _Double.apply(grad, ctx.gain), None


class _Double(torch.autograd.Function):
    """The adjoint of `_Halve`: zeros between the pixels, then the same filter (it is symmetric)."""

    @staticmethod
    def forward(ctx, x: Tensor, gain: float) -> Tensor:
        ctx.gain = gain
        n, c, h, w = x.shape
        if TRITON_ON_GPU and fir.known(x):
            return fir.fir(x, 2, 1, 1, gain)
        if x.dtype not in (torch.float16, torch.bfloat16):
            return F.conv_transpose2d(x, _kernel_for(x, gain), stride=2, padding=1, groups=c)
        if x.is_contiguous(memory_format=torch.channels_last):
            spread = x.new_zeros(n, 2 * h + 1, 2 * w + 1, c).permute(0, 3, 1, 2)
        else:
            spread = x.new_zeros(n, c, 2 * h + 1, 2 * w + 1)
        spread[:, :, 1::2, 1::2] = x
        return F.conv2d(spread, _kernel_for(x, gain), padding=1, groups=c)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        return _Halve.apply(grad, ctx.gain), None
