"""Kernels in Triton for GPUs, few and short. Each stands beside the PyTorch code that CPUs run, which is its reference
and takes over where Triton is missing or cannot compile."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_refused: set[str] = set()


def on_gpu(tensor: Tensor) -> bool:
    """Whether the fused operators are to work on such tensors; the plain PyTorch code does on all others."""
    return tensor.device.type != "cpu"


def run(name: str, kernel: Callable, reference: Callable, *args: Any) -> Any:
    """What `kernel` gives; once it has failed, what `reference` gives, now and later."""
    if name not in _refused:
        try:
            return kernel(*args)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:      # no triton, no C compiler for its launcher, a GPU that it does not know, ...
            _refused.add(name)
            warnings.warn(f"the fused kernel {name} cannot be used here ({type(error).__name__}: {error}); "
                          "plain PyTorch does its work, with many more kernel launches", RuntimeWarning, stacklevel=2)
    return reference(*args)
