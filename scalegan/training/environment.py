"""A run's environment: everything besides the recipe that its exact bits may depend on."""

import os
import platform
import re
from collections import Counter
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from scalegan import __version__
from scalegan.config import Engine
from scalegan.data.reading import order
from scalegan.engines.ranks import Ranks


def record(ranks: Ranks, micro_batch: int, precision: str, engine: Engine) -> dict[str, Any]:
    """Versions, processors, threads and flags, as plain values; must be called on all ranks."""
    cuda = ranks.device.type == "cuda"
    zero = engine.name == "deepspeed"
    name = torch.cuda.get_device_name(ranks.device) if cuda else _cpu()
    devices = ranks.all_gather(f"MPS, {name}" if ranks.device.type == "mps" else name)
    threads = ranks.all_gather(torch.get_num_threads())
    return {
        "scalegan": __version__, "data_order": order.VERSION, "torch": str(torch.__version__),
        "numpy": version("numpy"), "pillow": version("pillow"), "python": platform.python_version(),
        "accelerate": version("accelerate"), "deepspeed": version("deepspeed") if zero else None,
        "triton": _version("triton") if cuda else None,
        "cuda": torch.version.cuda if cuda else None, "cudnn": torch.backends.cudnn.version() if cuda else None,
        "nccl": ".".join(map(str, torch.cuda.nccl.version())) if cuda else None, "driver": _driver() if cuda else None,
        "device": ", ".join(sorted(set(devices))), "threads_per_rank": ", ".join(map(str, sorted(set(threads)))),
        "ranks": ranks.world_size, "micro_batch": micro_batch,
        "engine": f"ZeRO-{engine.zero_stage}" if zero else engine.name, "reduction": engine.reduction,
        "compile": engine.compile, "precision": precision, "matmul_precision": torch.get_float32_matmul_precision(),
        "deterministic": engine.deterministic, "tf32": torch.backends.cuda.matmul.allow_tf32 if cuda else None,
        "cudnn_tf32": torch.backends.cudnn.allow_tf32 if cuda else None,
        "cudnn_benchmark": torch.backends.cudnn.benchmark if cuda else None,
        "topology": _topology(ranks) if cuda and ranks.world_size > 1 else None,
    }


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Reasons why a run resumed with records `now` may not reproduce the bits that it would have had with `before`."""
    before = {"data_order": 1, **before}    # missing in the first records
    if "grain" in before:
        before["micro_batch"] = before.pop("grain")     # its name in the first records
    same_sum = {"ranks", "topology"} if before.get("reduction") == now["reduction"] == "tree" else set()
    return [f"{key} was {before[key]} and is now {now[key]}" for key in now
            if key in before and before[key] != now[key] and key not in same_sum]


def prepare(device: torch.device, deterministic: bool, tf32: bool = False) -> None:
    """Asks CUDA for deterministic kernels, or for the fastest ones; for fp32 as it is, or for TF32 in its place."""
    if device.type != "cuda":
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
    torch.backends.cudnn.benchmark = not deterministic
    torch.backends.cudnn.deterministic = deterministic
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32      # PyTorch allows the first
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    # It would fill all memory before use, a kernel for each allocation; nothing here reads what it has not written.
    torch.utils.deterministic.fill_uninitialized_memory = False


def _topology(ranks: Ranks) -> str:
    """What NCCL chooses the order of its sums by: ranks on each host, whether their GPUs reach each other directly, and
    settings of NCCL."""
    here, seen = ranks.device.index or 0, range(torch.cuda.device_count())
    direct = all(torch.cuda.can_device_access_peer(here, other) for other in seen if other != here)
    found = ranks.all_gather((platform.node(), direct if len(seen) > 1 else None))
    hosts = Counter(host for host, _ in found)
    access = {True: "direct access", False: "no direct access", None: "one GPU seen by each"}
    settings = [f"{name}={value}" for name, value in sorted(os.environ.items()) if name.startswith("NCCL_")
                and not name.startswith(("NCCL_DEBUG", "NCCL_SOCKET_IFNAME"))]
    return ", ".join([" + ".join(map(str, hosts.values())) + " ranks", *dict.fromkeys(access[d] for _, d in found),
                      *ranks.broadcast(settings)])


def _cpu() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            name = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "")
    except OSError:
        name = ""
    return f"{name or platform.processor() or platform.machine()} ({torch.backends.cpu.get_cpu_capability()})"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _driver() -> str | None:
    """Version of NVIDIA's kernel module."""
    try:
        found = re.search(r"\d+\.\d+(\.\d+)?", Path("/proc/driver/nvidia/version").read_text())
    except OSError:
        return None
    return found and found[0]
