"""Inputs that are made from the images they belong to, for pairs that need no second set.

Each is a pure function of images [N, 3 or 1, H, W] in [-1, 1], the same in training, in evaluation and for a user's
photo.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from scalegan.data.colour import rgb_to_lab

_LUMA = (0.299, 0.587, 0.114)       # Rec. 601
_SOBEL = ((-1.0, 0.0, 1.0), (-2.0, 0.0, 2.0), (-1.0, 0.0, 1.0))


class Derived(NamedTuple):
    """A kind of input.

    Args:
        make: the function that makes it of images.
        channels: of the input; None for those of the image.
        filters: those that reduce it and, in pictures and evaluations, enlarge it again; empty if none do.
    """

    make: Callable[[Tensor], Tensor]
    channels: int | None
    filters: str = ""


def grey(images: Tensor) -> Tensor:
    """Luma [N, 1, H, W]."""
    if images.shape[1] == 1:
        return images
    return sum(weight * images[:, channel : channel + 1] for channel, weight in enumerate(_LUMA))


def lightness(images: Tensor) -> Tensor:
    """CIE L* as [N, 1, H, W] in [-1, 1]: L* / 50 - 1."""
    return rgb_to_lab(images.expand(-1, 3, -1, -1) / 2 + 0.5)[:, :1] / 50 - 1


def edges(images: Tensor) -> Tensor:
    """Edges, dark on white, [N, 1, H, W]: one minus twice Sobel's gradient of the luma, where an edge from black to
    white is black. (pix2pix took its edges from a network, HED.)"""
    kernel = torch.tensor(_SOBEL, dtype=images.dtype, device=images.device) / 4
    padded = F.pad(grey(images) / 2, (1, 1, 1, 1), mode="replicate")
    with torch.autocast(images.device.type, enabled=False):     # bf16 would round pixels to 8 bits
        across, down = F.conv2d(padded, kernel[None, None]), F.conv2d(padded, kernel.T[None, None])
    return 1 - 2 * (across.square() + down.square()).sqrt().clamp(max=1)


def outline(images: Tensor) -> Tensor:
    """The images' dilation by 3 x 3 pixels less themselves, [N, C, H, W] in [-1, 1] (Liu & Tuzel, 2016, section 4)."""
    return F.max_pool2d(images, 3, 1, 1) - images - 1       # pixels in [0, 1], scaled back to [-1, 1]


def negative(images: Tensor) -> Tensor:
    """Bright for dark, [N, C, H, W] in [-1, 1]."""
    return -images


def low_resolution(factor: int) -> Callable[[Tensor], Tensor]:
    """Images of 1 / `factor` of the size, by torch's antialiased bicubic filter, enlarged again by its bicubic one."""
    def make(images: Tensor) -> Tensor:
        return F.interpolate(_reduced(images, factor), images.shape[2:], mode="bicubic").clamp(-1, 1)
    return make


def small(factor: int) -> Callable[[Tensor], Tensor]:
    """Images of 1 / `factor` of the size, [N, C, H / factor, W / factor], by the bicubic filter of `resized`."""
    def make(images: Tensor) -> Tensor:
        return _reduced(images, factor).clamp(-1, 1)
    return make


def resized(images: Tensor, size: Sequence[int]) -> Tensor:
    """Images of another (height, width), by the antialiased bicubic filter that Pillow and MATLAB have, a = -0.5."""
    return F.interpolate(images, tuple(size), mode="bicubic", antialias=True)


def _reduced(images: Tensor, factor: int) -> Tensor:
    return resized(images, [max(1, round(side / factor)) for side in images.shape[2:]])


_LOW = "reduced by an antialiased bicubic filter, a = -0.5, and enlarged by a bicubic one, a = -0.75"
_SMALL = "reduced and enlarged by a bicubic filter, a = -0.5, antialiased"

DERIVED = {
    "grey": Derived(grey, 1),
    "lightness": Derived(lightness, 1),
    "edges": Derived(edges, 1),
    "low2": Derived(low_resolution(2), None, _LOW),
    "low4": Derived(low_resolution(4), None, _LOW),
    "small2": Derived(small(2), None, _SMALL),
    "small4": Derived(small(4), None, _SMALL),
}
COUNTERPARTS = {"edges": outline, "negative": negative}      # second domains of coupled GANs
