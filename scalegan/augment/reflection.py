"""Filters and index maps for images extended by reflection (c b a b c)."""

import functools
from collections.abc import Callable, Hashable

import numpy as np
import torch
from torch import Tensor

Taps = tuple[float, ...]


def fold(index: Tensor, size: int | Tensor) -> Tensor:
    """The pixel 0 ... size - 1 at each index, integer or fractional, of the reflected image; sizes may broadcast."""
    period = 2 * (size - 1)
    if index.is_floating_point():  # the distance to the nearest copy of pixel 0
        return (index - (index / period).round() * period).abs()
    index = index.remainder(period)
    return torch.minimum(index, period - index)


def convolution(taps: Taps, size: int) -> np.ndarray:
    """The matrix [size, size] of a convolution along one axis with a centred filter of odd length."""
    matrix = np.zeros((size, size))
    for pixel in range(size):
        for tap, value in enumerate(taps):
            matrix[pixel, _folded(pixel + len(taps) // 2 - tap, size)] += value
    return matrix


def _folded(index: int, size: int) -> int:
    index %= 2 * (size - 1)
    return min(index, 2 * (size - 1) - index)


def doubling(taps: Taps, size: int) -> np.ndarray:
    """The matrix [2 size, size] that inserts zeros between pixels and filters; `taps` has even length."""
    matrix = np.zeros((2 * size, size))
    half = len(taps) // 2
    for fine in range(2 * size):
        for pixel in range((fine - half) // 2, (fine + half) // 2 + 1):
            tap = fine + half - 1 - 2 * pixel
            if 0 <= tap < len(taps):
                matrix[fine, _folded(pixel, size)] += taps[tap]
    return matrix


def halving(taps: Taps, size: int) -> np.ndarray:
    """The matrix [size, 2 size + len(taps) - 2], the adjoint of an unbounded `doubling`; its columns are pixels
    -(len(taps) / 2 - 1) to 2 size + len(taps) / 2 - 2 of the fine grid."""
    matrix = np.zeros((size, 2 * size + len(taps) - 2))
    for pixel in range(size):
        matrix[pixel, 2 * pixel : 2 * pixel + len(taps)] = taps
    return matrix


@functools.cache        # not bounded: a CUDA graph reads them where they lie
def constant(make: Callable[..., np.ndarray], taps: Hashable, size: int, dtype: torch.dtype,
             device: torch.device) -> Tensor:
    """A matrix, such as those above, as a tensor, cached."""
    with torch.inference_mode(False):
        return torch.from_numpy(make(taps, size)).to(dtype).to(device)


def extents(images: Tensor) -> int | Tensor:
    """(width, height) of images [n, C, H, W] as [2, 1], or one number for both, which takes fewer operations."""
    height, width = images.shape[2:]
    return width if width == height else constant(_column, (width, height), 2, images.dtype, images.device)


def _column(numbers: tuple[int, ...], size: int) -> np.ndarray:
    return np.array(numbers, float).reshape(size, 1)


def separably(down: Tensor, across: Tensor, images: Tensor) -> Tensor:
    """Applies matrices [out, in], or one for each sample [n, out, in], to the height and the width of images
    [n, C, H, W]."""
    down, across = (matrix if matrix.dim() == 2 else matrix[:, None] for matrix in (down, across))
    return down @ images @ across.mT
