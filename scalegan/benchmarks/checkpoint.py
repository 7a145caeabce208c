"""Checkpoints: how long a save holds training up."""

import tempfile
from pathlib import Path

import torch

from scalegan.benchmarks.harness import Result, alternate, seconds, shorter
from scalegan.checkpoint import Checkpoints
from scalegan.engines.ranks import Ranks


def async_vs_sync_blocking() -> Result:
    """What an asynchronous save of 300 MB holds the training thread up, beside a blocking one."""
    tensors = {f"tensor{i}": torch.full((1024, 1024), float(i)) for i in range(75)}
    with tempfile.TemporaryDirectory() as scratch:
        checkpoints = Checkpoints(Path(scratch), Ranks(0, 1, torch.device("cpu")), keep=2)
        number = iter(range(1, 1000))

        def asynchronous() -> float:
            blocked = seconds(lambda: checkpoints.save(next(number), tensors, {}))
            checkpoints.finish()
            return blocked

        def blocking() -> float:
            return seconds(lambda: checkpoints.save(next(number), tensors, {}, wait=True))

        value, reference = alternate(asynchronous, blocking)
    return shorter("async_vs_sync_blocking", "seconds blocked", value, "blocking save", reference)


BENCHMARKS = {"async_vs_sync_blocking": async_vs_sync_blocking}
