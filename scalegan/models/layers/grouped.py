"""Grouped 3x3 convolutions in float32 as one batched matrix product each, for GPUs.

cuDNN's deterministic kernels for channels_last take the groups one after the other, with several launches for each of
R3GAN's 96, in the forward pass and in both gradients.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from scalegan import kernels

_MOST = 2**27       # numbers in the copy of all 3x3 neighbourhoods, which is nine times the input


def suits(x: Tensor, w: Tensor, stride: list[int], padding: list[int], dilation: list[int], transposed: bool,
          output_padding: list[int], groups: int) -> bool:
    """Whether to compute this convolution here: it keeps the size, and its neighbourhoods fit."""
    return (kernels.on_gpu(x) and groups > 1 and x.dtype == torch.float32 and w.shape[2:] == (3, 3) and not transposed
            and stride == padding == dilation == [1, 1] and 9 * x.numel() <= _MOST)


def convolve(x: Tensor, w: Tensor, groups: int) -> Tensor:
    """[N, C, H, W] * [O, C/groups, 3, 3] -> [N, O, H, W], channels_last."""
    kernel = w.permute(0, 2, 3, 1).reshape(groups, len(w) // groups, -1).transpose(1, 2)     # as channels_last lies
    return _product(x, kernel, groups)


def input_gradient(grad: Tensor, w: Tensor, groups: int) -> Tensor:
    """[N, O, H, W] -> [N, C, H, W]: a convolution with the mirrored kernel."""
    mirrored = w.permute(0, 2, 3, 1).unflatten(0, (groups, -1)).flip(2, 3)    # [groups, O/groups, 3, 3, ..]
    return _product(grad, mirrored.permute(0, 2, 3, 1, 4).flatten(1, 3), groups)


def weight_gradient(grad: Tensor, x: Tensor, w: Tensor, groups: int) -> Tensor:
    """[N, O, H, W], [N, C, H, W] -> [O, C/groups, 3, 3], in the layout of w."""
    columns = grad.permute(0, 2, 3, 1).reshape(-1, groups, len(w) // groups).permute(1, 2, 0)
    found = torch.bmm(columns, _neighbourhoods(x, groups))          # [groups, O/groups, 9 C/groups]
    found = found.view(len(w), 3, 3, -1).permute(0, 3, 1, 2)
    return found if found.stride() == w.stride() else torch.empty_like(w).copy_(found)


def _product(x: Tensor, kernel: Tensor, groups: int) -> Tensor:
    """[N, C, H, W] by [groups, 9 C/groups, O/groups] -> [N, O, H, W]."""
    n, _, height, width = x.shape
    y = torch.bmm(_neighbourhoods(x, groups), kernel)               # [groups, N H W, O/groups]
    return y.transpose(0, 1).reshape(n, height, width, -1).permute(0, 3, 1, 2)


def _neighbourhoods(x: Tensor, groups: int) -> Tensor:
    """[N, C, H, W] -> [groups, N H W, 9 C/groups], with the channels of a pixel beside each other."""
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
    windows = padded.unfold(1, 3, 1).unfold(2, 3, 1).unflatten(3, (groups, -1))      # [N, H, W, groups, C/groups, 3, 3]
    return windows.permute(3, 0, 1, 2, 5, 6, 4).reshape(groups, x.shape[0] * x.shape[2] * x.shape[3], -1)
