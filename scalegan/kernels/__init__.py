"""Kernels in Triton for GPUs, few and short. Each stands beside the PyTorch code that CPUs run, which is its reference
and takes over where Triton is missing or cannot compile."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_library = torch.library.Library("scalegan", "FRAGMENT")
_refused: set[str] = set()


def on_gpu(tensor: Tensor) -> bool:
    """Whether the fused operators are to work on such tensors; the plain PyTorch code does on all others."""
    return tensor.device.type not in ("cpu", "mps")


def operator(schema: str, fake: Callable) -> Callable[[Callable], Callable]:
    """Makes a function the operator `scalegan::<schema>`, which compilers and dispatch modes treat as one.

    Defined by hand, since what `torch.library.custom_op` puts around a call costs the host more than some kernels take.
    It has no derivative: only autograd Functions call it.

    Args:
        schema: as in PyTorch's native_functions.yaml; an argument changed in place is `Tensor(a!)`.
        fake: given the same arguments, returns an empty tensor like the result.
    """
    def register(function: Callable) -> Callable:
        name = schema.partition("(")[0]
        _library.define(schema)
        _library.impl(name, function, "CompositeExplicitAutograd")
        torch.library.register_fake(f"scalegan::{name}", fake, lib=_library)
        return getattr(torch.ops.scalegan, name).default
    return register


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
