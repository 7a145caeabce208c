"""What every part is given: where it computes, where its scratch files go, and the file that keeps its results."""

import contextlib
import json
import os
import statistics
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TRACEBACK_LINES = 40


@dataclass(frozen=True)
class Check:
    """One call of the script, as its parts see it.

    Args:
        out: JSON lines; every part appends to it, from whatever process.
        scratch: a folder that goes with the call.
        small: everything in small, for CPUs.
        peers: where other projects' code lies, by name.
    """

    out: Path
    scratch: Path
    small: bool
    peers: dict[str, Path]

    def say(self, check: str, **figures: Any) -> None:
        """Appends a line, which is on the disk when this returns: what comes next may take the machine down."""
        line = json.dumps({"check": check, **{key: _short(value) for key, value in figures.items()}}) + "\n"
        with self.out.open("a") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        print(line, end="", flush=True)

    @contextlib.contextmanager
    def attempt(self, check: str, **facts: Any) -> Iterator[None]:
        """An error inside is a line among the results, and ends the block alone."""
        try:
            yield
        except Exception:
            self.say(check, **facts, failed=last_lines(traceback.format_exc()))

    @property
    def left(self) -> float:
        """Seconds until the part has to have ended."""
        return float(os.environ.get("GPU_CHECK_UNTIL", "inf")) - time.time()

    @property
    def shards(self) -> dict[int, Path]:
        """The prepared sets, by resolution: made once, by the part `data`."""
        return {size: self.scratch / f"shards{size}" for size in self.sizes}

    @property
    def sizes(self) -> tuple[int, ...]:
        return (32,) if self.small else (64, 256)


def device():
    """The GPU, or the CPU where there is none."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def wait() -> None:
    """Returns when the GPU has done everything."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def timed(work: Callable[[], object], repeats: int = 10, warm: int = 2, rounds: int = 3) -> tuple[float, float]:
    """Milliseconds of a call in a row of `repeats`, the median of `rounds` such rows; and milliseconds until the host
    has launched one, from a GPU that waits."""
    for _ in range(warm):
        work()
    launched, done = [], []
    for _ in range(rounds):
        wait()
        start = time.perf_counter()
        work()
        launched.append(time.perf_counter() - start)
        wait()
        start = time.perf_counter()
        for _ in range(repeats):
            work()
        wait()
        done.append((time.perf_counter() - start) / repeats)
    return 1e3 * statistics.median(done), 1e3 * statistics.median(launched)


def last_lines(text: str) -> str:
    return "\n".join(text.rstrip().splitlines()[-_TRACEBACK_LINES:])


def _short(value: Any) -> Any:
    return float(f"{value:.5g}") if isinstance(value, float) else value
