"""Heights and widths of images and feature maps."""

from collections.abc import Sequence

BASE = 4        # px of the smallest feature map, along the shorter side


def pair(side: int | Sequence[int]) -> tuple[int, int]:
    """Height and width, of a square's side or as they are."""
    height, width = (side, side) if isinstance(side, int) else side
    return height, width
