"""The filter [1, 3, 3, 1] in both directions, for images with their channels last: as it is, or doubling or halving the
side. A Triton kernel, as the operator `scalegan::fir`, in place of cuDNN's depthwise convolutions."""

import torch
import torch.nn.functional as F
from torch import Tensor

from scalegan import kernels

SUM = 8     # of 1, 3, 3, 1


def known(x: Tensor) -> bool:
    """Whether the kernel finds its way in this memory, and computes in its type."""
    return (kernels.on_gpu(x) and x.dtype in (torch.float32, torch.bfloat16, torch.float16) and x.dim() == 4
            and x.is_contiguous(memory_format=torch.channels_last))


def size_of(side: int, up: int, down: int, padding: int) -> int:
    """Of the output's."""
    return 2 * side if up == 2 else (side + 2 * padding - 4) // down + 1


def _empty(x: Tensor, up: int, down: int, padding: int, gain: float) -> Tensor:
    height, width = (size_of(side, up, down, padding) for side in x.shape[2:])
    return x.new_empty(len(x), height, width, x.shape[1]).permute(0, 3, 1, 2)


@kernels.operator("fir(Tensor x, int up, int down, int padding, float gain) -> Tensor", _empty)
def fir(x: Tensor, up: int, down: int, padding: int, gain: float) -> Tensor:
    """[N, C, H, W], channels last, with `up` - 1 zeros after each pixel and before the first, filtered so that the taps
    sum to `gain`; of that, every `down`-th pixel.

    Args:
        up, down: 1 or 2, one of them 1.
        padding: zeros at each border; 1 if `up` or `down` is 2.
    """
    return kernels.run("fir", _in_one_kernel, _plainly, x, up, down, padding, gain)


def _plainly(x: Tensor, up: int, down: int, padding: int, gain: float) -> Tensor:
    """The reference, in float32."""
    channels = x.shape[1]
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], device=x.device)
    kernel = (torch.outer(taps, taps) * (gain / SUM**2)).expand(channels, 1, 4, 4)
    if up == 2:
        found = F.conv_transpose2d(x.float(), kernel, stride=2, padding=1, groups=channels)
    else:
        found = F.conv2d(x.float(), kernel, stride=down, padding=padding, groups=channels)
    return found.to(x.dtype).contiguous(memory_format=torch.channels_last)


def _in_one_kernel(x: Tensor, up: int, down: int, padding: int, gain: float) -> Tensor:
    from scalegan.kernels import fir_triton
    size = [size_of(side, up, down, padding) for side in x.shape[2:]]
    return fir_triton.fir(x, *size, up, down, padding, gain / SUM**2)
