"""The arithmetic precision of a run."""

import contextlib

import torch

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_precision(asked: str, device: torch.device) -> str:
    """Resolves `auto`: bf16 if the device computes it natively, else fp32."""
    if asked != "auto":
        return asked
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if device.type != "cpu":
        return "fp32"
    return "bf16" if torch.cpu._is_avx512_bf16_supported() else "fp32"


def slow_precision(precision: str, device: torch.device) -> str | None:
    """Why a precision does not suit the device, in one line, or None."""
    if precision == "fp16" and device.type == "cpu":
        return "precision=fp16 on a CPU, which has no arithmetic for it: some ten times slower than precision=fp32"
    return None


def autocast(precision: str, device: torch.device) -> contextlib.AbstractContextManager:
    """The context that networks run in: none for fp32, torch's autocast for bf16 and fp16."""
    return contextlib.nullcontext() if precision == "fp32" else torch.autocast(device.type, DTYPES[precision])
