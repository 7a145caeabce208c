"""Image-space corruptions."""

import torch
from torch import Tensor

from scalegan.randomness import Draws

NOISE = 0.1   # standard deviation of the noise's standard deviation
HOLE = 0.5    # sides of what is cut out, as a fraction of the image's


def noise(images: Tensor, draws: Draws, p: float | Tensor) -> Tensor:
    """Adds white noise with probability p; its standard deviation is itself random, |N(0, 0.1)|."""
    level = torch.where(draws.uniform("noise") < p, draws.normal("noise/level").abs() * NOISE, 0)
    white = draws.normal("noise", *images.shape[1:])
    return images + (level[:, None, None, None] * white).to(images.dtype)


def cutout(images: Tensor, draws: Draws, p: float | Tensor) -> Tensor:
    """Sets a part of half the height and half the width, centred anywhere in the image, to 0, with probability p."""
    chance, x, y = draws.uniform("cutout", 3).unbind(1)
    along = {side: (torch.arange(side, device=images.device) + 0.5) / side for side in images.shape[2:]}
    down, across = (along[side] for side in images.shape[2:])
    column = (across - x[:, None]).abs() < HOLE / 2
    row = (down - y[:, None]).abs() < HOLE / 2
    hole = row[:, :, None] & column[:, None, :] & (chance < p)[:, None, None]
    return images.masked_fill(hole[:, None], 0)
