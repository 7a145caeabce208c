"""Noise of several levels on the outputs of a generator that has several (Hyun et al., 2025): GAT's MNG."""

from collections.abc import Iterator

import torch
from torch import Tensor

from scalegan.augment import Augment
from scalegan.randomness import Draws

_LEAST_KEPT = 0.125     # share of an image that is left at the first level, but for the offset
_OFFSET = 0.01


def noise_shares(count: int) -> list[float]:
    """t of each of `count` levels, at which D sees (1 - t) x + t eps: 0.885, 0.76, 0.51 and 0.01 for four."""
    return [1 - _LEAST_KEPT ** (1 - level / (count - 1)) + _OFFSET for level in range(count)]


class NoisyLevels(Augment):
    """Joins the levels of every sample on channels, each with its own share of noise, as a D of levels takes them.

    The levels of one sample are augmented alike. Noises are nested: each level's is that of the next, decayed, plus
    fresh noise, so that a level never tells what a later one hides.

    Args:
        before: the augmentation that is applied first.
        count: levels, at least two.
    """

    def __init__(self, before: Augment, count: int) -> None:
        super().__init__()
        self.before, self.shares = before, noise_shares(count)

    def forward(self, images: Tensor, draws: Draws, seen: int) -> Tensor:
        """[n, K, C, H, W], or [n, C, H, W] of which every level is a copy, to [n, K * C, H, W]."""
        if images.dim() == 5:
            levels = [self.before(level, draws, seen) for level in images.unbind(1)]
        else:
            levels = [self.before(images, draws, seen)] * len(self.shares)
        noisy = [*self._noisy(levels, draws)]
        return torch.cat(noisy[::-1], 1)

    def _noisy(self, levels: list[Tensor], draws: Draws) -> Iterator[Tensor]:
        """The levels with noise, the last one first."""
        names = {f"level/{number}": tuple(level.shape[1:]) for number, level in enumerate(levels)}
        fresh = list(draws.normals(names).values())
        noise, before = torch.zeros_like(levels[-1]), 0.0
        for level, share, own in zip(reversed(levels), reversed(self.shares), reversed(fresh)):
            decay = (1 - share) / (1 - before)
            noise = decay * noise + (share**2 - (decay * before) ** 2) ** 0.5 * own
            before = share
            yield (1 - share) * level + noise

    def shifted(self, images: Tensor, draws: Draws) -> Tensor:
        return self.before.shifted(images, draws)

    def watch(self, real_logits: Tensor, seen: int) -> dict[str, Tensor]:
        return self.before.watch(real_logits, seen)
