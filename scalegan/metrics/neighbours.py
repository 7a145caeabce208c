"""Samples next to their nearest real images in feature space, to reveal memorisation."""

from pathlib import Path

import numpy as np
import torch

from scalegan.data.pixels import from_levels, shown, shown_pixels
from scalegan.metrics import manifold
from scalegan.metrics.features import SetFeatures
from scalegan.metrics.images import Images
from scalegan.metrics.samples import Samples
from scalegan.pictures import grids

SHOWN = 10
NEAREST = 7


def save_picture(path: Path, fakes: Images | Samples, of_fakes: SetFeatures, reals: Images,
                 of_reals: SetFeatures) -> None:
    """One row for each of the first ten samples: the sample, then its seven nearest reals, nearest first."""
    count = min(NEAREST, len(of_reals.vectors))
    _, found = manifold.nearest(of_fakes.vectors[:SHOWN], of_reals.vectors, count)
    rows = []
    for number, places in zip(of_fakes.numbers[:SHOWN], found.numpy()):
        row = [_pixels(fakes, number), *(shown_pixels(reals.read(int(real))) for real in of_reals.numbers[places])]
        rows.append(np.stack(row))
    images = torch.from_numpy(np.concatenate(rows)).permute(0, 3, 1, 2)
    path.parent.mkdir(parents=True, exist_ok=True)
    grids.save_grid(path, from_levels(images), 1 + count)


def _pixels(source: Images | Samples, number: int) -> np.ndarray:
    if isinstance(source, Samples):
        return shown(source.draw(np.array([number])))[0].permute(1, 2, 0).cpu().numpy()
    return shown_pixels(source.read(int(number)))
