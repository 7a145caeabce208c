"""Colour transformations."""

import math

import torch
from torch import Tensor

from scalegan.randomness import Draws

BRIGHTNESS = 0.2                 # standard deviation
CONTRAST, SATURATION = 0.5, 1.0  # standard deviations of log2


def colour(images: Tensor, draws: Draws, p: float | Tensor) -> Tensor:
    """Brightness, contrast, luma flip, hue rotation, saturation; each with probability p.

    A colour is its grey part, along v = (1, 1, 1) / sqrt(3), and what stands at right angles to it. All five keep the
    two apart: they shift and scale the one, and turn and scale the other. (One channel is all grey.)
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
    turned = (images.roll(1, 1) - images.roll(-1, 1)) / math.sqrt(3)  # v x (the colour)
    mapped = (grey + level) * gain * luma + (across * angle.cos() + turned * angle.sin()) * gain * purity
    return torch.where(touched[:, None, None, None], mapped, images)


def _each(value: Tensor, images: Tensor) -> Tensor:
    return value.to(images.dtype)[:, None, None, None]
