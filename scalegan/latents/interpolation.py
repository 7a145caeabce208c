"""Interpolates between samples.

Style-based generators are interpolated along straight lines in w; others in z, along great circles (Shoemake, 1985;
White, 2016) where z is normally distributed, and along straight lines where it is not.
"""

from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn


def walk(generator: "nn.Module", seeds: list[int], steps: int, label: "Tensor | None" = None,
         psi: float = 1.0) -> "Tensor":
    """Images [(len(seeds) - 1) * (steps + 1), C, H, W] from each seed to the next, including both ends.

    Args:
        label: of all images: a class, [1], or attributes, [1, K].
        psi: truncation, passed to the generator.
    """
    import torch

    from scalegan.latents.space import Space

    def labels(count: int) -> torch.Tensor | None:
        return None if label is None else label.expand(count, *label.shape[1:])

    space = Space(generator, psi)
    ends = space.of_seeds(seeds, labels(len(seeds)))
    places = torch.stack([space.between(a, b, step / steps) for a, b in pairwise(ends) for step in range(steps + 1)])
    return space.images(places, labels(len(places)))
