"""Differentiable augmentation (Zhao et al., 2020, "Differentiable Augmentation for Data-Efficient GAN Training")."""

import torch
from torch import Tensor

from scalegan.augment import Augment
from scalegan.kernels.bilinear import pixels
from scalegan.randomness import Draws

SHIFT = 1 / 8   # maximum in either direction, as a fraction of the side
HOLE = 1 / 2    # side of the cut-out square, as a fraction of the image's


class DiffAugment(Augment):
    """Applies the paper's policies to every image, at full strength.

    Args:
        policies: any of color, translation, cutout.
    """

    def __init__(self, policies: tuple[str, ...] = ("color", "translation", "cutout")) -> None:
        super().__init__()
        self.policies = policies

    def forward(self, images: Tensor, draws: Draws, seen: int) -> Tensor:
        changes = {"color": color, "translation": translation, "cutout": cutout}
        with torch.autocast(images.device.type, enabled=False):
            changed = images if images.dtype == torch.float64 else images.float()
            for name, change in changes.items():
                changed = change(changed, draws) if name in self.policies else changed
            return changed

    def shifted(self, images: Tensor, draws: Draws) -> Tensor:
        return translation(images, draws) if "translation" in self.policies else images


def color(images: Tensor, draws: Draws) -> Tensor:
    """Brightness + U(-0.5, 0.5); saturation times U(0, 2); contrast times U(0.5, 1.5)."""
    brightness, saturation, contrast = draws.uniform("color", 3).to(images.dtype)[:, :, None, None, None].unbind(1)
    images = images + (brightness - 0.5)
    grey = images.mean(1, keepdim=True)
    images = grey + (images - grey) * (saturation * 2)
    mean = images.mean((1, 2, 3), keepdim=True)
    return mean + (images - mean) * (contrast + 0.5)


def translation(images: Tensor, draws: Draws) -> Tensor:
    """Shifts by whole pixels, up to an eighth of the side, filling in zeros."""
    height, width = images.shape[2:]
    across, down = int(width * SHIFT + 0.5), int(height * SHIFT + 0.5)
    dx = draws.integers("shift/x", 2 * across + 1) - across
    dy = draws.integers("shift/y", 2 * down + 1) - down
    column = torch.arange(width, device=images.device) - dx[:, None]
    row = torch.arange(height, device=images.device) - dy[:, None]
    inside = _within(row, height)[:, None, :, None] & _within(column, width)[:, None, None, :]
    return torch.where(inside, pixels(images, row.clamp(0, height - 1), column.clamp(0, width - 1)), 0)


def cutout(images: Tensor, draws: Draws) -> Tensor:
    """Zeroes a square of half the side, centred on any pixel of the image."""
    column = _hole(draws.uniform("hole/x"), images.shape[3])
    row = _hole(draws.uniform("hole/y"), images.shape[2])
    return torch.where((row[:, :, None] & column[:, None, :])[:, None], 0, images)


def _within(index: Tensor, size: int) -> Tensor:
    return (index >= 0) & (index < size)


def _hole(place: Tensor, size: int) -> Tensor:
    """Mask [n, size] of the pixels along an axis that lie in the hole, for places [n] in [0, 1)."""
    width = int(size * HOLE + 0.5)
    first = (place * (size + 1 - width % 2)).long() - width // 2
    along = torch.arange(size, device=place.device)
    return (along >= first[:, None]) & (along < first[:, None] + width)
