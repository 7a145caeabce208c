"""Figures of games that translate between two domains and back.

cycle_l1: the mean |F(G(x)) - x| over the pixels of images x in [-1, 1], without rounding, as in the cycle loss of Zhu
    et al. (2017, eq. 2): of each domain (cycle_l1_A, cycle_l1_B), and the mean of both.
"""

from collections.abc import Callable

import numpy as np
import torch

from scalegan.data.spec import Spec
from scalegan.engines.ranks import Ranks
from scalegan.errors import UsageError, UserError
from scalegan.metrics.images import described
from scalegan.metrics.samples import Samples
from scalegan.support.devices import double

METRICS = ("cycle_l1",)
CONSTANTS = {"cycle_l1": "mean absolute difference of pixels in [-1, 1], all channels, no border"}


def check(asked: set[str], samples: object) -> None:
    """Raises UsageError if the game does not translate there and back, UserError if its images have another shape than
    those of training."""
    if not asked & set(METRICS):
        return
    if not (isinstance(samples, Samples) and samples.cycles):
        raise UsageError(f"--metrics cycle_l1: {getattr(samples, 'name', 'this')} does not translate between two "
                         "domains and back; use a run of game.name=cyclegan, or other metrics")
    for stream, images in samples.inputs.items():
        trained = Spec.of(samples.generator.about["specs"][stream]).shape
        if images.shape != trained:
            raise UserError(f"{images.name} has images of {described(images.shape)}, but stream {stream} was trained "
                            f"on {described(trained)}; prepare them at that size")


def of_cycles(samples: Samples, numbers: np.ndarray, batch_size: int, ranks: Ranks,
              advance: Callable[[int], None]) -> dict[str, float]:
    """cycle_l1, and that of each domain, over the images with these numbers; the same bits on any number of ranks."""
    found = torch.zeros(len(numbers), len(samples.inputs), dtype=torch.float64)

    def share() -> None:
        for start in range(ranks.rank * batch_size, len(numbers), ranks.world_size * batch_size):
            part = slice(start, start + batch_size)
            for column, (images, again) in enumerate(samples.there_and_back(numbers[part]).values()):
                found[part, column] = double((again - images).abs()).mean((1, 2, 3)).cpu()
            advance(min(ranks.world_size * batch_size, len(numbers) - start))

    ranks.run_collectively(share)
    by_domain = torch.stack(ranks.all_gather(found)).sum(0).mean(0)
    figures = {f"cycle_l1_{domain}": value for domain, value in zip(samples.inputs, by_domain.tolist())}
    return {"cycle_l1": by_domain.mean().item(), **figures}
