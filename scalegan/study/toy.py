"""The toy study: every objective on every 2-D dataset, in one process per core, each with a stack of seeds."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor

from scalegan.study.scores import MODES, score
from scalegan.study.settings import OBJECTIVES, SETTINGS
from scalegan.study.training import train
from scalegan.support import worker_pool

Samples = dict[tuple[str, str], Tensor]


def study(objectives: Sequence[str], data: Sequence[str], seeds: Sequence[int], workers: int,
          updates: int | None = None) -> tuple[list[dict[str, Any]], Samples]:
    """Runs the study; returns rows of the table, and samples [seeds, 2500, 2] by objective and dataset."""
    cells = [(objective, name) for name in data for objective in objectives]
    longest_first = sorted(cells, key=lambda cell: -cost(*cell))
    samples: Samples = {}
    work = partial(_cell, seeds=tuple(seeds), updates=updates)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
               TimeRemainingColumn())
    with (closing(worker_pool.run(work, longest_first, min(workers, len(cells)))) as messages,
          Progress(*columns, console=Console(stderr=True)) as progress):
        task = progress.add_task("trained", total=len(cells))
        for message in messages:
            if isinstance(message, worker_pool.Done):
                samples[message.job] = torch.from_numpy(message.result)
                cell = " on ".join(message.job)
                progress.update(task, advance=1, description=cell)
                progress.console.print(f"{len(samples)} of {len(cells)}: {cell}", highlight=False)
    return [row(*cell, seeds, samples[cell]) for cell in cells], {cell: samples[cell] for cell in cells}


def row(objective: str, data: str, seeds: Sequence[int], samples: Tensor) -> dict[str, Any]:
    """One row of the table; data without modes has no scores."""
    line = {"objective": objective, "data": data, "seeds": list(seeds)}
    if data not in MODES:
        return {**line, "modes": None, "modes_covered": None, "high_quality": None, "reverse_kl": None}
    centres, sigma = MODES[data]
    scores = [score(of_seed, centres, sigma) for of_seed in samples]
    return {**line, "modes": len(centres), **{name: [s[name] for s in scores] for name in scores[0]}}


def cost(objective: str, data: str) -> float:
    """Rough duration of a cell, in updates of a plain game."""
    chosen = OBJECTIVES[objective]
    return SETTINGS[data].updates * (chosen.critic + chosen.unroll + bool(chosen.minibatch) + chosen.energy)


def _cell(cell: tuple[str, str], report: worker_pool.Report, seeds: tuple[int, ...], updates: int | None) -> np.ndarray:
    torch.set_num_threads(1)    # fixes the order of sums on any machine
    objective, data = cell
    settings = SETTINGS[data] if updates is None else replace(SETTINGS[data], updates=updates)
    # As an array: a tensor would be sent as a handle to the worker's memory, and fetched by a separate thread.
    return train(OBJECTIVES[objective], settings, data, seeds).numpy()
