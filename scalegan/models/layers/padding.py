"""Padding whose gradient is deterministic on GPUs too, unlike that of torch's own operators."""

import torch
from torch import Tensor, nn


class ReflectionPad(nn.Module):
    """Reflects `size` pixels at each edge of [N, C, H, W] without repeating the edge, as `nn.ReflectionPad2d`."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        p = self.size
        for axis in (2, 3):
            side = x.shape[axis]
            x = torch.cat([x.narrow(axis, 1, p).flip(axis), x, x.narrow(axis, side - 1 - p, p).flip(axis)], axis)
        return x


def repeat_edges(x: Tensor, multiple: int, smallest: int = 0) -> Tensor:
    """Repeats the right and lower edge of [N, C, H, W] until both sides are multiples of `multiple`, and at least
    `smallest`, which is one too."""
    for axis in (2, 3):
        missing = max(-x.shape[axis] % multiple, smallest - x.shape[axis])
        if missing:
            edge = x.narrow(axis, x.shape[axis] - 1, 1)
            x = torch.cat([x, edge.repeat_interleave(missing, axis)], axis)
    return x
