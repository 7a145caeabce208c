"""The Laplacian pyramid (Burt & Adelson, 1983): an image is a small image and what each doubling of its size misses."""

import torch.nn.functional as F
from torch import Tensor


def down(images: Tensor) -> Tensor:
    """[N, C, H, W] -> [N, C, H/2, W/2]: means of 2 x 2 pixels."""
    return F.avg_pool2d(images, 2)


def up(images: Tensor) -> Tensor:
    """[N, C, H, W] -> [N, C, 2H, 2W], bilinear."""
    return F.interpolate(images, scale_factor=2.0, mode="bilinear", align_corners=False)


def at_level(images: Tensor, level: int) -> Tensor:
    """Images I_level of the Gaussian pyramid: halved `level` times."""
    for _ in range(level):
        images = down(images)
    return images


def split(images: Tensor) -> tuple[Tensor, Tensor]:
    """(h, l): the low-pass image l = up(down(I)), and the high-pass h = I - l, each of the shape of I."""
    low = up(down(images))
    return images - low, low
