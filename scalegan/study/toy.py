"""The toy study: every objective on every 2-D data set, a process per core, a stack of seeds in each."""

import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor

from scalegan.data.crew import die_with
from scalegan.study.scores import MODES, score
from scalegan.study.settings import OBJECTIVES, SETTINGS
from scalegan.study.training import train

Samples = dict[tuple[str, str], Tensor]


def study(objectives: Sequence[str], data: Sequence[str], seeds: Sequence[int], workers: int,
          updates: int | None = None) -> tuple[list[dict[str, Any]], Samples]:
    """Rows of the table, and the samples [seeds, 2500, 2] of each objective and data set."""
    cells = [(objective, name) for name in data for objective in objectives]
    longest_first = sorted(cells, key=lambda cell: -cost(*cell))
    samples: Samples = {}
    # Forked workers would inherit torch's thread pool in an unknown state.
    context = multiprocessing.get_context("spawn")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
               TimeRemainingColumn())
    with (ProcessPoolExecutor(min(workers, len(cells)), context, _start, (os.getpid(),)) as pool,
          Progress(*columns, console=Console(stderr=True)) as progress):
        futures = {pool.submit(_cell, *cell, tuple(seeds), updates): cell for cell in longest_first}
        task = progress.add_task("trained", total=len(cells))
        for future in as_completed(futures):
            samples[futures[future]] = future.result()
            cell = " on ".join(futures[future])
            progress.update(task, advance=1, description=cell)
            progress.console.print(f"{len(samples)} of {len(cells)}: {cell}", highlight=False)
    return [row(*cell, seeds, samples[cell]) for cell in cells], {cell: samples[cell] for cell in cells}


def row(objective: str, data: str, seeds: Sequence[int], samples: Tensor) -> dict[str, Any]:
    """A line of the table; data without modes has no scores."""
    line = {"objective": objective, "data": data, "seeds": list(seeds)}
    if data not in MODES:
        return {**line, "modes": None, "modes_covered": None, "high_quality": None, "reverse_kl": None}
    centres, sigma = MODES[data]
    scores = [score(of_seed, centres, sigma) for of_seed in samples]
    return {**line, "modes": len(centres), **{name: [s[name] for s in scores] for name in scores[0]}}


def cost(objective: str, data: str) -> float:
    """Roughly how long a cell takes, relative to a plain game's update."""
    chosen = OBJECTIVES[objective]
    return SETTINGS[data].updates * (chosen.critic + chosen.unroll + bool(chosen.minibatch) + chosen.energy)


def _cell(objective: str, data: str, seeds: tuple[int, ...], updates: int | None) -> Tensor:
    settings = SETTINGS[data] if updates is None else replace(SETTINGS[data], updates=updates)
    return train(OBJECTIVES[objective], settings, data, seeds)


def _start(parent: int) -> None:
    die_with(parent)
    torch.set_num_threads(1)    # sums then have one order, whatever the machine
