"""Turns, scales and moves faces to where they are in CelebA's aligned images."""

import math

import numpy as np
from PIL import Image

from scalegan.data.picture import CELEBA_SIZE as SIZE

# Means of what `Detector` finds in the last 1,500 of CelebA's first 10,000 images, at half size and enlarged to 178 x
# 218 px. CelebA's own file of landmarks says the same to about one pixel.
LANDMARKS = np.array([[70.24, 112.18], [109.27, 112.08], [89.38, 136.27], [72.14, 153.67], [107.04, 153.50]])
_REACH = 4              # px on either side that the filters see


def similarity(points: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The turn, scale and shift, float64 [2, 3], that bring points [n, 2] nearest to their targets in least squares
    (Umeyama, 1991); they never mirror.

    In the plane, with points as complex numbers less their mean, the turn and scale is one complex number.
    """
    p, t = (np.asarray(one, np.float64) @ [1, 1j] for one in (points, targets))
    centred = p - p.mean()
    turn = np.vdot(centred, t - t.mean()) / np.vdot(centred, centred).real
    shift = t.mean() - turn * p.mean()
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def aligned(pixels: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """A face as it is in CelebA, uint8 [218, 178, C], from which `scalegan.data.picture.crop` cuts a set's square.

    Args:
        pixels: the photo, uint8 [H, W, C].
        landmarks: a face's, [5, 2], as `scalegan.faces.detection` gives them.
    """
    return warped(pixels, similarity(landmarks, LANDMARKS), SIZE)


def in_square(side: int) -> np.ndarray:
    """Where faces have their landmarks in the central square of an aligned image, resized to `side` px: in sets that
    `scalegan prepare` made with --crop center or celeba178, [5, 2]."""
    return (LANDMARKS - [0, (SIZE[0] - SIZE[1]) / 2]) * side / SIZE[1]


def warped(pixels: np.ndarray, transform: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 [*size, C], where each point of `pixels` is moved by the similarity `transform`, [2, 3].

    Nothing aliases where it reduces: what is needed of the photo is reduced first, and then turned. Beyond the photo's
    edges, its outermost pixels are repeated.
    """
    shape = np.array(pixels.shape[1::-1])
    back = np.linalg.inv(np.vstack([transform, [0, 0, 1]]))[:2]
    corners = back @ [[0, size[1], 0, size[1]], [0, 0, size[0], size[0]], [1, 1, 1, 1]]
    scale = min(1.0, math.hypot(*transform[:, 0]))      # pixels made of one of the photo's, at most one
    first = np.floor(corners.min(1) - _REACH / scale).clip(0, shape - 1).astype(int)
    last = np.ceil(corners.max(1) + _REACH / scale).clip(first + 1, shape).astype(int)
    part = pixels[first[1] : last[1], first[0] : last[0]]
    sides = np.rint((last - first) * scale).clip(1).astype(int)
    picture = Image.fromarray(part[..., 0] if part.shape[2] == 1 else part)
    part = np.asarray(picture.resize(sides.tolist(), Image.Resampling.LANCZOS))

    factor = (sides / (last - first))[:, None]
    before = np.ceil(_REACH - (corners.min(1) - first) * factor[:, 0]).clip(0).astype(int)
    after = np.ceil((corners.max(1) - first) * factor[:, 0] + _REACH - sides).clip(0).astype(int)
    part = np.pad(part, [(before[1], after[1]), (before[0], after[0]), (0, 0)][: part.ndim], mode="edge")
    back = back * factor + np.stack([np.zeros(2), np.zeros(2), before - first * factor[:, 0]], 1)
    turned = Image.fromarray(part).transform(size[::-1], Image.Transform.AFFINE, back.ravel(), Image.Resampling.BICUBIC)
    return np.array(turned).reshape(*size, pixels.shape[2])
