"""The device that networks run on, and what a Mac's GPU (MPS) lacks: float64. Commands import this, so torch is not
imported with it."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def available() -> "torch.device":
    """CUDA's current GPU, else a Mac's (unless ACCELERATE_USE_CPU is set), else the CPU."""
    import torch

    if torch.cuda.is_available():
        return torch.device("cuda")
    unwanted = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes", "y", "on")
    return torch.device("mps" if torch.backends.mps.is_available() and not unwanted else "cpu")


def has_float64(device: "torch.device") -> bool:
    """Whether tensors on the device can be float64."""
    return device.type != "mps"


def widest(device: "torch.device") -> "torch.dtype":
    """float64, or float32 where the device has no wider type."""
    import torch

    return torch.float64 if has_float64(device) else torch.float32


def double(tensor: "Tensor") -> "Tensor":
    """The tensor in float64; on the CPU, if its device has none."""
    return (tensor if has_float64(tensor.device) else tensor.cpu()).double()
