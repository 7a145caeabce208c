"""Colour transformations."""

import math

import torch
from torch import Tensor

from scalegan.randomness import Draws

BRIGHTNESS = 0.2                 # standard deviation
CONTRAST, SATURATION = 0.5, 1.0  # standard deviations of the factors' log2


def colour(images: Tensor, draws: Draws, p: float | Tensor) -> Tensor:
    """Brightness, contrast, luma flip, hue rotation, saturation; each with probability p.

    A colour is the sum of its grey part, along v = (1, 1, 1) / sqrt(3), and a part orthogonal to it. None of the five
    mixes the two: they shift and scale the former, and rotate and scale the latter. (One channel is all grey.) Others
    than three have no hue.
    """
    chance = draws.uniform("colour", 7)
    bright, contrast, flip, turn, saturate = (chance[:, :5] < p).unbind(1)
    flips, angle = chance[:, 5:].unbind(1)
    flip = flip & (flips < 0.5)
    touched = bright | contrast | flip | turn | saturate
    level, gain, purity = draws.normal("colour", 3).unbind(1)
    level = _each(torch.where(bright, level * BRIGHTNESS, 0), images)
    gain = _each(torch.where(contrast, (gain * CONTRAST).exp2(), 1), images)
    luma = _each(torch.where(flip, -1.0, 1.0), images)
    angle = _each(torch.where(turn, (angle * 2 - 1) * math.pi, 0), images)
    purity = _each(torch.where(saturate, (purity * SATURATION).exp2(), 1), images)

    grey = images.mean(1, keepdim=True)
    across = images - grey
    if images.shape[1] == 3:
        turned = (images.roll(1, 1) - images.roll(-1, 1)) / math.sqrt(3)  # cross product of v and the colour
        across = across * angle.cos() + turned * angle.sin()
    mapped = (grey + level) * gain * luma + across * gain * purity
    return torch.where(touched[:, None, None, None], mapped, images)


def _each(value: Tensor, images: Tensor) -> Tensor:
    return value.to(images.dtype)[:, None, None, None]
