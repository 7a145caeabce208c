"""Augmentation of images that are not square happens in pixels, about the centre."""

import math

import pytest
import torch

from scalegan.augment.blit import quarter_turn
from scalegan.augment.corruption import cutout
from scalegan.augment.diffaugment import DiffAugment
from scalegan.augment.geometry import warp
from scalegan.randomness import Draws


def _disc(height: int, width: int, radius: float, x: float = 0.0, y: float = 0.0) -> torch.Tensor:
    """A soft disc [1, 1, H, W] at (x, y) from the centre, in pixels."""
    down = torch.arange(height)[:, None] - (height - 1) / 2 - y
    across = torch.arange(width)[None] - (width - 1) / 2 - x
    return torch.sigmoid(radius - (down.square() + across.square()).sqrt())[None, None]


@pytest.mark.parametrize(("height", "width"), [(32, 64), (96, 32)])
def test_a_disc_turned_about_the_centre_is_the_disc(height: int, width: int) -> None:
    """A warp in units of the sides would make it an ellipse."""
    image, angle = _disc(height, width, 7), torch.tensor([0.7])
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).view(1, 2, 2)
    difference = (warp(image, turn, torch.zeros(1, 2)) - image)[0, 0].abs()
    top, left = height // 2 - 9, width // 2 - 9            # the middle: further out come reflections
    assert difference[top : top + 18, left : left + 18].max() < 0.06


def test_a_warp_moves_by_pixels_along_each_axis() -> None:
    moved = warp(_disc(32, 64, 5), torch.eye(2)[None], torch.tensor([[12.0, 3.0]]))
    assert (moved - _disc(32, 64, 5, 12, 3)).abs().max() < 0.02


def test_a_quarter_turn_is_about_the_centre_and_keeps_pixels() -> None:
    turned = quarter_turn(_disc(32, 64, 4, 9, 2))
    assert turned.shape == (1, 1, 32, 64)
    assert turned[..., 16:48].allclose(_disc(32, 64, 4, 2, -9)[..., 16:48], atol=1e-6)      # beside it are reflections


@pytest.mark.parametrize(("height", "width"), [(32, 64), (96, 32)])
def test_holes_are_half_of_each_side(height: int, width: int) -> None:
    white, draws = torch.ones(256, 1, height, width), Draws(0, 0, "test", torch.arange(256))
    for made in (cutout(white, draws, 1.0), DiffAugment(("cutout",))(white, draws, 0)):
        black = made[:, 0] == 0
        assert black.any(2).sum(1).max() == height // 2 and black.any(1).sum(1).max() == width // 2
        assert math.isclose(black.sum((1, 2)).max(), height * width // 4)
