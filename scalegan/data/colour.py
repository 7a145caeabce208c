"""CIE-LAB (D65, 2 degrees, as scikit-image has it), differentiable everywhere.

Images are sRGB [N, 3, H, W] in [0, 1]; L* goes from 0 to 100, and within sRGB's gamut a* from -86 to 98 and b* from
-108 to 94.
"""

import numpy as np
import torch
from torch import Tensor

_WHITE = np.array([0.95047, 1.0, 1.08883])
_TO_XYZ = np.array([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]])
_TO_SCALED = (_TO_XYZ / _WHITE[:, None]).tolist()       # linear RGB -> XYZ relative to white
_TO_LINEAR = np.linalg.inv(_TO_XYZ / _WHITE[:, None]).tolist()
_KNEE, _LINEAR_KNEE = 0.008856, 0.2068966
_HALVINGS = 18      # of the chroma that is searched: to 4e-6 of it, so that another runtime's rounding does not show


def rgb_to_lab(rgb: Tensor) -> Tensor:
    """sRGB in [0, 1] -> L*, a*, b*, [N, 3, H, W]."""
    above = rgb > 0.04045
    linear = torch.where(above, ((_safe(rgb, above) + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    scaled = _mixed(linear, _TO_SCALED)
    above = scaled > _KNEE
    f = torch.where(above, _safe(scaled, above) ** (1 / 3), 7.787 * scaled + 16 / 116)
    x, y, z = f.unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)


def lab_to_rgb(lab: Tensor) -> Tensor:
    """L*, a*, b* -> sRGB [N, 3, H, W]; colours out of gamut are below 0 or above 1."""
    linear = _lab_to_linear(lab)
    above = linear > 0.0031308
    return torch.where(above, 1.055 * _safe(linear, above) ** (1 / 2.4) - 0.055, 12.92 * linear)


def _lab_to_linear(lab: Tensor) -> Tensor:
    """L*, a*, b* -> linear RGB, which is between 0 and 1 where sRGB is."""
    lightness, a, b = lab.unbind(1)
    y = (lightness + 16) / 116
    f = torch.stack([y + a / 500, y, (y - b / 200).clamp_min(0)], 1)
    above = f > _LINEAR_KNEE
    scaled = torch.where(above, _safe(f, above) ** 3, (f - 16 / 116) / 7.787)
    return _mixed(scaled, _TO_LINEAR)


def in_gamut(lab: Tensor) -> Tensor:
    """The nearest colours in sRGB's gamut with the same lightness and hue: their chroma is reduced, by bisection.
    [N, 3, H, W] -> sRGB in [0, 1]."""
    lightness, ab = lab[:, :1].clamp(0, 100), lab[:, 1:]

    def reduced(share: Tensor | float) -> Tensor:
        return torch.cat([lightness, share * ab], 1)

    def fits(share: Tensor | float) -> Tensor:
        linear = _lab_to_linear(reduced(share))
        return (linear.amin(1, keepdim=True) >= 0) & (linear.amax(1, keepdim=True) <= 1)

    low, high = torch.zeros_like(lightness), torch.ones_like(lightness)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        inside = fits(middle)
        low, high = torch.where(inside, middle, low), torch.where(inside, high, middle)
    return lab_to_rgb(reduced(torch.where(fits(1.0), 1.0, low))).clamp(0, 1)


def _safe(values: Tensor, used: Tensor) -> Tensor:
    """Values for a power whose result is used only where `used`: elsewhere 1, as the power's gradient at 0 is
    infinite, which `where` would turn to NaN."""
    return torch.where(used, values, torch.ones_like(values))


def _mixed(channels: Tensor, matrix: list[list[float]]) -> Tensor:
    """A matrix product by hand, which autocast leaves in float32."""
    first, second, third = channels.unbind(1)
    return torch.stack([a * first + b * second + c * third for a, b, c in matrix], 1)
