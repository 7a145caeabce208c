"""Floating-point operations, counted as torch's FlopCounterMode does."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


def flops_of(function: Callable, args: tuple, kwargs: Mapping[str, Any], result: Any) -> int:
    """Operations of one operator call: 2 per multiply-add of convolutions and matrix products."""
    packet = function._overloadpacket
    if packet is torch.ops.aten.convolution_backward:
        return _of_convolution_backward(*args)
    return flop_registry[packet](*args, **kwargs, out_val=result) if packet in flop_registry else 0


class FlopCounter(TorchDispatchMode):
    """Counts the operations inside the context, on tensors of any kind, without changing any result.

    Attributes:
        flops: operations so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        self.flops += flops_of(function, args, kwargs or {}, result)
        return result


def _of_convolution_backward(grad: Tensor, x: Tensor, w: Tensor, bias_sizes, stride, padding, dilation, transposed,
                             *rest) -> int:
    """Each of the two gradients of a convolution costs as much as its forward. For the weights' gradient, torch ignores
    the groups, and so overcounts by a factor of their number."""
    pixels = (x if transposed else grad).shape[2:]
    forward = 2 * len(x) * math.prod(pixels) * w.numel()
    return forward * sum(rest[-1][:2])
