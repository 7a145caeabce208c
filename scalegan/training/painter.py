"""The run's picture."""

from pathlib import Path

import torch
from torch import Tensor, nn

from scalegan.checkpoints.exports import style_of
from scalegan.config import Recipe
from scalegan.data.pixels import from_uint8
from scalegan.data.reading.record_reader import Chunks
from scalegan.data.spec import Task
from scalegan.games.base import latents
from scalegan.pictures import grids
from scalegan.randomness import Draws


class SamplePainter:
    """Draws the run's picture: samples from fixed latents, column i showing class i where there are classes."""

    def __init__(self, recipe: Recipe, task: Task, chunks: Chunks, labels: Tensor | None,
                 device: torch.device) -> None:
        self.recipe, self.task, self.chunks, self.device = recipe, task, chunks, device
        rows, columns = recipe.snapshot.rows, recipe.snapshot.columns
        self.count = rows * columns if len(task.shape) == 3 else 2500
        self.draws = Draws(recipe.seed, 0, "snapshot", torch.arange(self.count, device=device))
        self.labels = None
        if task.multilabel:
            self.labels = labels[self.draws.integers("label", len(labels)).cpu()].to(device)
        elif task.num_classes:
            self.labels = torch.arange(self.count, device=device) % columns % task.num_classes

    @torch.no_grad()
    def samples(self, generator: nn.Module, path: Path) -> Tensor:
        """Draws the picture, and returns the samples [N, ...]."""
        samples = generator(latents(generator, self.draws), self.labels, **style_of(generator))
        if samples.dim() == 4:
            grids.save_grid(path, samples, self.recipe.snapshot.columns)
        else:
            grids.save_points(path, samples, self._reals())
        return samples

    def reals(self, path: Path) -> None:
        """The first images of the run, of the same number."""
        reals = self._reals()
        if reals.dim() == 4:
            grids.save_grid(path, from_uint8(reals), self.recipe.snapshot.columns)

    def _reals(self) -> Tensor:
        order, taken, position = self.chunks.order, [], 0
        while sum(map(len, taken)) < self.count and (not taken or position + order.batch_size <= order.records):
            taken += [self.chunks.chunk(position, lane)[0] for lane in range(order.lanes)]
            position += order.batch_size
        return torch.cat(taken)[: self.count]
