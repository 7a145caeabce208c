"""Where a run computes: everything on which its bits may depend beside the recipe."""

import os
import platform
from importlib.metadata import version
from typing import Any

import torch

from scalegan import __version__


def record(device: torch.device, ranks: int, precision: str, deterministic: bool) -> dict[str, Any]:
    """Versions, processor, threads and flags, as plain values."""
    cuda = device.type == "cuda"
    return {
        "scalegan": __version__, "torch": str(torch.__version__), "numpy": version("numpy"),
        "python": platform.python_version(), "device": torch.cuda.get_device_name(device) if cuda else _cpu(),
        "cudnn": torch.backends.cudnn.version() if cuda else None, "ranks": ranks,
        "threads_per_rank": torch.get_num_threads(), "precision": precision, "deterministic": deterministic,
        "tf32": torch.backends.cuda.matmul.allow_tf32 if cuda else None,
    }


def prepare(device: torch.device, deterministic: bool) -> None:
    """Asks CUDA for deterministic kernels, or for the fastest ones."""
    if device.type != "cuda":
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
    torch.backends.cudnn.benchmark = not deterministic
    torch.backends.cudnn.deterministic = deterministic
    torch.use_deterministic_algorithms(deterministic, warn_only=True)


def choose_precision(asked: str, device: torch.device) -> str:
    """`auto` is bf16 where the device computes it natively, and fp32 elsewhere."""
    if asked != "auto":
        return asked
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if torch.cpu._is_avx512_bf16_supported() else "fp32"


def _cpu() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            name = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "")
    except OSError:
        name = ""
    return f"{name or platform.processor() or platform.machine()} ({torch.backends.cpu.get_cpu_capability()})"
