"""Diversity by MS-SSIM (Odena et al., "Conditional image synthesis with auxiliary classifier GANs", ICML 2017).

The mean multi-scale structural similarity (Wang, Simoncelli & Bovik, 2003) of random pairs of samples: high if they all
look alike. Constants: an 11 x 11 Gaussian window of sigma 1.5, K1 = 0.01, K2 = 0.03, L = 255, and the weights below.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from scalegan.support.devices import double

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_WINDOW = 11
_SIGMA = 1.5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def scales_of(side: int) -> int:
    """Number of scales at which the window still fits: 5 from 176 px up, 3 at 64 px. Published figures of small images
    handle this in different ways; here the remaining weights are rescaled to sum to one."""
    return max(sum(side >> scale >= _WINDOW for scale in range(len(WEIGHTS))), 1)


def ms_ssim(x: Tensor, y: Tensor) -> Tensor:
    """MS-SSIM [N] of pairs x, y [N, C, H, W] in 0 ... 255, averaged over channels. Raises ValueError below 11 px."""
    if min(x.shape[2:]) < _WINDOW:
        raise ValueError(f"MS-SSIM needs images of {_WINDOW} px or more, not {x.shape[3]} x {x.shape[2]}")
    x, y = double(x), double(y)
    scales = scales_of(min(x.shape[2:]))
    weights = torch.tensor(WEIGHTS[:scales], dtype=torch.float64, device=x.device)
    weights = weights / weights.sum()
    product = torch.ones(x.shape[:2], dtype=torch.float64, device=x.device)
    for scale, weight in enumerate(weights):
        luminance, contrast = _similarity(x, y)
        value = luminance * contrast if scale == scales - 1 else contrast
        product = product * value.mean((2, 3)).clamp(min=0) ** weight
        x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
    return product.mean(1)


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """SSIM [N] of pairs x, y [N, C, H, W] in 0 ... 255, of 11 px or more: the mean over channels and pixels (Wang et
    al., 2004)."""
    luminance, contrast = _similarity(double(x), double(y))
    return (luminance * contrast).mean((1, 2, 3))


def _similarity(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Maps of the luminance term, and of contrast and structure together."""
    mean_x, mean_y = _blurred(x), _blurred(y)
    var_x, var_y = _blurred(x * x) - mean_x**2, _blurred(y * y) - mean_y**2
    covariance = _blurred(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    return luminance, (2 * covariance + _C2) / (var_x + var_y + _C2)


def _blurred(images: Tensor) -> Tensor:
    """Applies the Gaussian window where it fits entirely."""
    offsets = torch.arange(_WINDOW, dtype=images.dtype, device=images.device) - _WINDOW // 2
    window = (-offsets.square() / (2 * _SIGMA**2)).exp()
    window = window / window.sum()
    flat = images.reshape(-1, 1, *images.shape[2:])
    flat = F.conv2d(F.conv2d(flat, window.view(1, 1, -1, 1)), window.view(1, 1, 1, -1))
    return flat.reshape(*images.shape[:2], *flat.shape[2:])
