"""Floating point operations, as torch's FlopCounterMode counts them."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


def flops_of(function: Callable, args: tuple, kwargs: Mapping[str, Any], result: Any) -> int:
    """Of one call of an operator: 2 for each multiplication and addition of convolutions and matrix products."""
    packet = function._overloadpacket
    if packet is torch.ops.aten.convolution_backward:
        return _of_gradients(*args)
    return flop_registry[packet](*args, **kwargs, out_val=result) if packet in flop_registry else 0


class FlopCounter(TorchDispatchMode):
    """Counts what runs inside, on tensors of any kind; nothing is computed otherwise than outside.

    Attributes:
        flops: so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        self.flops += flops_of(function, args, kwargs or {}, result)
        return result


def _of_gradients(grad: Tensor, x: Tensor, w: Tensor, bias_sizes, stride, padding, dilation, transposed, *rest) -> int:
    """Both gradients of a convolution cost what it costs itself. torch's count takes the weights' for that of a
    convolution without groups, which is too many by a factor of the number of groups."""
    pixels = (x if transposed else grad).shape[2:]
    forward = 2 * len(x) * math.prod(pixels) * w.numel()
    return forward * sum(rest[-1][:2])
