"""How long models take for 64 faces, on the processor."""

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from scalegan.data.pixels import from_levels
from scalegan.games.sampling import latents
from scalegan.randomness import Draws
from scalegan.study.faces.bench import Bench
from scalegan.study.faces.question import Question
from scalegan.study.faces.trainings import INTEGRATED, cyclegan
from scalegan.study.tables import Column

COLUMNS = {"seconds": Column("seconds for 64 faces", 3), "threads": Column("threads", 0)}
_FACES, _TIMES = 64, 7
NOTE = f"Medians of {_TIMES} times, on the processor, without reading and writing files."


def measured(bench: Bench, seed: int) -> dict[str, dict[str, float]]:
    """The figures of each row."""
    translating = cyclegan(bench.attributes[0])
    return {row: bench.kept("speed", row, seed, [name], lambda name=name, export=export: _of(bench, seed, name, export))
            for row, (name, export) in {"iterative GAN, rebuild": (INTEGRATED, "rebuild"),
                                        "iterative GAN, transform": (INTEGRATED, "transform"),
                                        "StarGAN, transform": ("stargan", None),
                                        "CycleGAN, transform": (translating, "A_to_B"),
                                        "iterative GAN, generate": (INTEGRATED, "G"), "CGAN, generate": ("cgan", None),
                                        "AC-GAN, generate": ("acgan", None)}.items()}


def seconds_of(work: Callable[[], object]) -> float:
    """The median time that it takes, once it is warm."""
    times = []
    for _ in range(1 + _TIMES):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def _of(bench: Bench, seed: int, name: str, export: str | None) -> dict[str, float]:
    network = bench.network(name, seed, export)
    inputs = [_input(bench, network, kind) for kind in network.about["export"]["inputs"]]
    with torch.inference_mode():
        return {"seconds": seconds_of(lambda: network(*inputs)), "threads": torch.get_num_threads()}


def _input(bench: Bench, network: nn.Module, kind: str) -> Tensor:
    """Photos of the test set, over and over if they are few, or their attributes; or random z."""
    rows = torch.arange(_FACES) % len(bench.test)
    if kind == "z":
        return latents(network, Draws(0, 0, "study/z", torch.arange(_FACES)))
    if kind == "condition":
        return bench.labels[rows][:, bench.places(getattr(network, "names", bench.names))]
    return from_levels(bench.photos[rows])


QUESTION = Question("Speed", NOTE, COLUMNS,
                    lambda attributes: (INTEGRATED, "stargan", cyclegan(attributes[0]), "cgan", "acgan"), measured,
                    lambda rows: [])
