"""Pixel blitting: flips, quarter turns and whole-pixel shifts, which move pixels without changing their values."""

import torch
from torch import Tensor

from scalegan.augment.reflection import extents, fold
from scalegan.kernels.bilinear import pixels
from scalegan.randomness import Draws

SHIFT = 0.125  # maximum in either direction, as a fraction of the width or the height


def blit(images: Tensor, draws: Draws, p: float | Tensor) -> Tensor:
    """x-flip, rotation by multiples of 90 degrees, integer translation; each with probability p."""
    flip, flips, turn, turns, move, dx, dy = draws.uniform("blit", 7).unbind(1)
    images = torch.where(_each((flip < p) & (flips < 0.5)), images.flip(3), images)
    quarters = (turns * 4).long().masked_fill(turn >= p, 0)
    images = torch.where(_each(quarters % 2 == 1), quarter_turn(images), images)
    images = torch.where(_each(quarters >= 2), images.rot90(2, (2, 3)), images)
    by = (torch.stack([dx, dy]) * 2 - 1) * SHIFT * extents(images)
    return shift(images, *by.round().long().masked_fill(move >= p, 0))


def flip_and_shift(images: Tensor, draws: Draws, pixels: int) -> Tensor:
    """Flips each image with probability 1/2, and shifts it by up to `pixels` whole pixels in either direction."""
    images = torch.where(_each(draws.integers("flip", 2).bool()), images.flip(3), images)
    return shift(images, *(draws.integers("shift", 2 * pixels + 1, 2) - pixels).T)


def shift(images: Tensor, dx: Tensor, dy: Tensor) -> Tensor:
    """Shifts images [n, C, H, W] right and down by whole pixels [n], filling in by reflection."""
    height, width = images.shape[2:]
    row = fold(torch.arange(height, device=images.device) - dy[:, None], height)
    column = fold(torch.arange(width, device=images.device) - dx[:, None], width)
    return pixels(images, row, column)


def quarter_turn(images: Tensor) -> Tensor:
    """A quarter turn about the centre; where the image ends, it goes on by reflection."""
    height, width = images.shape[2:]
    turned = images.rot90(1, (2, 3))                                                            # [n, C, W, H]
    if height == width:
        return turned
    along = torch.arange(max(height, width), device=images.device).expand(len(images), -1)
    row = fold(along[:, :height] + (width - height) // 2, width)
    column = fold(along[:, :width] + (height - width) // 2, height)
    return pixels(turned, row, column)


def _each(chosen: Tensor) -> Tensor:
    return chosen[:, None, None, None]
