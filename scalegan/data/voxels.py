"""Connected bodies of voxel grids, and grids of another side."""

import numpy as np

_AXES = (1, 2, 3)


def bodies(filled: np.ndarray) -> np.ndarray:
    """How many connected bodies each grid has, int64 [n]; voxels are connected where they share a face.

    Args:
        filled: bool [n, D, H, W].
    """
    return np.array([len(np.unique(labels[labels >= 0])) for labels in labelled(filled)], np.int64)


def labelled(filled: np.ndarray) -> np.ndarray:
    """The body of each filled voxel, named by the smallest index in it, and -1 for empty ones: int64 [n, D, H, W]."""
    nobody = filled[0].size
    labels = np.where(filled, np.arange(nobody).reshape(filled.shape[1:]), nobody)
    while True:
        spread = labels.copy()
        for axis in _AXES:
            lines, masks = np.moveaxis(spread, axis, 0), np.moveaxis(filled, axis, 0)
            _sweep(lines, masks)
            _sweep(lines[::-1], masks[::-1])
        if (spread == labels).all():
            return np.where(filled, labels, -1)
        labels = spread


def _sweep(planes: np.ndarray, filled: np.ndarray) -> None:
    """Passes smaller names on from each plane to the next, in place."""
    for before, here, mask in zip(planes[:-1], planes[1:], filled[1:]):
        np.minimum(here, before, out=here, where=mask)


def solid(surface: np.ndarray) -> np.ndarray:
    """A grid, bool [D, H, W], with everything filled that no path through empty voxels leads to from outside."""
    padded = np.pad(surface, 1)
    labels = labelled(~padded[None])[0]
    return (labels != labels[0, 0, 0])[1:-1, 1:-1, 1:-1]


def fitted(grid: np.ndarray, side: int) -> np.ndarray:
    """A grid of shares from 0 to 1 [D, H, W] as a cube [side, side, side]: enlarged by the largest whole factor that
    fits, or averaged over blocks of the smallest, and centred among empty voxels."""
    longest = max(grid.shape)
    if longest <= side:
        for axis in range(3):
            grid = grid.repeat(side // longest, axis)
    block = -(-max(grid.shape) // side)
    margins = [(block * side - length) // 2 for length in grid.shape]
    padded = np.pad(grid, [(margin, block * side - length - margin) for margin, length in zip(margins, grid.shape)])
    return padded.reshape(side, block, side, block, side, block).mean((1, 3, 5))
