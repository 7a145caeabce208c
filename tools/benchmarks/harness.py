"""Alternating measurements and their output."""

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch

from scalegan.config import Engine
from scalegan.engines.precision import choose_precision
from scalegan.engines.ranks import Ranks
from scalegan.training import environment

ROUNDS = 5


@dataclass(frozen=True)
class Result:
    """One figure and its reference; a larger ratio is better."""

    name: str
    value: float
    unit: str
    reference: str
    reference_value: float
    ratio: float


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call, including its work on the GPU."""
    _synchronise()
    start = time.perf_counter()
    work()
    _synchronise()
    return time.perf_counter() - start


def alternate(ours: Callable[[], float], reference: Callable[[], float], rounds: int = ROUNDS) -> tuple[float, float]:
    """Medians of both, measured alternately so that a slower machine slows both; the first round is a warm-up."""
    pairs = [(ours(), reference()) for _ in range(rounds + 1)][1:]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


def faster(name: str, unit: str, value: float, reference: str, reference_value: float) -> Result:
    """The result for a figure that is better when larger."""
    return Result(name, value, unit, reference, reference_value, value / reference_value)


def shorter(name: str, unit: str, value: float, reference: str, reference_value: float) -> Result:
    """The result for a figure that is better when smaller."""
    return Result(name, value, unit, reference, reference_value, reference_value / value)


def machine() -> dict[str, Any]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return environment.record(Ranks(0, 1, device), 1, choose_precision("auto", device), Engine())


def table(results: list[Result]) -> str:
    rows = [f"{'name':<26} {'value':>10} {'reference':>10} {'ratio':>7}  unit, reference"]
    for r in results:
        figures = f"{r.value:>10.4g} {r.reference_value:>10.4g} {r.ratio:>7.3f}"
        rows.append(f"{r.name:<26} {figures}  {r.unit}, {r.reference}")
    return "\n".join(rows)


def as_json(results: list[Result]) -> dict[str, Any]:
    return {"machine": machine(), "results": [asdict(r) for r in results]}


def _synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
