"""General geometric transformations: a warp between band-limited images of twice the size."""

import math

import torch
from torch import Tensor

from scalegan.augment.reflection import constant, doubling, extents, fold, halving, separably
from scalegan.kernels.bilinear import bilinear
from scalegan.randomness import Draws

SCALE, ASPECT = 0.2, 0.2  # standard deviations of log2
SHIFT = 0.125             # standard deviation, of the width and of the height

# Symlet 6 (Daubechies, 1992), orthonormal: halving undoes doubling exactly.
SYM6 = (0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633, 0.4910559419267466,
        0.787641141030194, 0.3379294217276218, -0.07263752278646252, -0.021060292512300564, 0.04472490177066578,
        0.0017677118642428036, -0.007800708325034148)
_UP = tuple(tap * math.sqrt(2) for tap in SYM6)
_DOWN = tuple(tap / math.sqrt(2) for tap in SYM6)


def geometry(images: Tensor, draws: Draws, p: float | Tensor) -> Tensor:
    """Isotropic scale, rotation, anisotropic scale, rotation, fractional translation; each with probability p, the
    rotations so that p is the probability of at least one."""
    scaled, before, turn1, aspect, after, turn2, moved = draws.uniform("geometry", 7).unbind(1)
    size, ratio, dx, dy = draws.normal("geometry", 4).unbind(1)
    rotated = 1 - (1 - torch.as_tensor(p)).sqrt()
    scaled, before, aspect, after, moved = scaled < p, before < rotated, aspect < p, after < rotated, moved < p

    matrix = _turn(torch.where(before, (turn1 * 2 - 1) * math.pi, 0))
    matrix = matrix / torch.where(scaled, (size * SCALE).exp2(), 1)[:, None, None]
    stretch = torch.where(aspect, (ratio * ASPECT).exp2(), 1)
    matrix = matrix * torch.stack([stretch, 1 / stretch], 1)[:, None, :]
    matrix = matrix @ _turn(torch.where(after, (turn2 * 2 - 1) * math.pi, 0))
    shift = torch.where(moved, torch.stack([dx, dy]) * SHIFT * extents(images), 0).T

    touched = scaled | before | aspect | after | moved
    warped = warp(images, matrix.to(images.dtype), shift.to(images.dtype))
    return torch.where(touched[:, None, None, None], warped, images)


def warp(images: Tensor, matrix: Tensor, shift: Tensor) -> Tensor:
    """What stands at q of an image [n, C, H, W] comes from matrix @ (q - shift), both from its centre, in pixels.

    Args:
        matrix: [n, 2, 2], for (x, y).
        shift: [n, 2], x to the right and y down.
    """
    sides, like = images.shape[2:], (images.dtype, images.device)
    fine = separably(*(constant(doubling, _UP, side, *like) for side in sides), images)
    margin = len(SYM6) // 2 - 1
    # The centre of fine pixel m lies at (m + 1/2) / 2 pixels from the border.
    along = {side: (torch.arange(-margin, 2 * side + margin, device=images.device).to(images.dtype) + 0.5) / 2
             - side / 2 for side in sides}
    down, across = (along[side] for side in sides)
    # matrix @ (q - shift) of every q = (x, y) from its parts; in pixels, mirrored as the borders are; in fine pixels.
    size = extents(images)
    offset = (size - 1) / 2 - (matrix @ shift[:, :, None])                                      # [n, (x, y), 1]
    of_x, of_y = matrix[:, :, :1] * across, matrix[:, :, 1:] * down + offset                    # [n, (x, y), F]
    size = size if isinstance(size, int) else size[:, :, None]
    source = fold(of_x[:, :, None, :] + of_y[:, :, :, None], size) * 2 + 0.5                    # [n, (x, y), F, F]
    return separably(*(constant(halving, _DOWN, side, *like) for side in sides), bilinear(fine, source))


def _turn(angle: Tensor) -> Tensor:
    """Rotation matrices [n, 2, 2] of angles [n]."""
    cosine, sine = angle.cos(), angle.sin()
    return torch.stack([cosine, -sine, sine, cosine], 1).view(-1, 2, 2)
