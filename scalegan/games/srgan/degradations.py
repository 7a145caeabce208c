"""Inputs of a network that enlarges images: their reductions, made worse at random."""

import io
import math

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from scalegan.data.derived import DERIVED
from scalegan.data.pixels import from_levels, to_uint8
from scalegan.games.srgan.settings import BEST_JPEG, Degrade
from scalegan.randomness import Draws

_SPAN = 3.0         # standard deviations that a blur's kernel covers


@torch.no_grad()
def degraded(images: Tensor, kind: str, degrade: Degrade, draws: Draws) -> Tensor:
    """Inputs made from images [N, C, H, W] in [-1, 1]: blurred, reduced as `kind` of `DERIVED` says, noisy, compressed.
    A sample's draws are those of its position, whatever else is in the batch."""
    if degrade.blur:
        images = blurred(images, degrade.blur * draws.uniform("blur"), math.ceil(_SPAN * degrade.blur))
    small = DERIVED[kind].make(images)
    if degrade.noise:
        deviation = degrade.noise / 127.5 * draws.uniform("noise level").view(-1, 1, 1, 1)
        small = (small + deviation * draws.normal("noise", *small.shape[1:])).clamp(-1, 1)
    if degrade.jpeg is not None:
        quality = degrade.jpeg + draws.integers("jpeg", BEST_JPEG - degrade.jpeg + 1)
        small = compressed(small, quality)
    return small


def blurred(images: Tensor, deviations: Tensor, radius: int) -> Tensor:
    """Images [N, C, H, W], each convolved with a Gaussian of its own standard deviation, [N] in pixels, up to `radius`
    pixels from its centre."""
    offsets = torch.arange(-radius, radius + 1, device=images.device)
    kernels = torch.exp(-0.5 * (offsets / deviations.clamp(min=1e-3)[:, None]).square())    # [N, 2 radius + 1]
    kernels = (kernels / kernels.sum(1, keepdim=True)).repeat_interleave(images.shape[1], 0)[:, None, None]
    flat = F.pad(images, (radius,) * 4, mode="replicate").flatten(0, 1)[None]              # [1, N C, H, W]
    with torch.autocast(images.device.type, enabled=False):     # bf16 would round images to 8 bits
        across = F.conv2d(flat, kernels, groups=len(kernels))
        return F.conv2d(across, kernels.mT, groups=len(kernels))[0].unflatten(0, images.shape[:2])


def compressed(images: Tensor, qualities: Tensor) -> Tensor:
    """Images [N, 3 or 1, H, W] in [-1, 1] as JPEG gives them back, each at its quality [N]."""
    found = []
    for image, quality in zip(to_uint8(images).cpu(), qualities.tolist()):
        file = io.BytesIO()
        Image.fromarray(image.permute(1, 2, 0).squeeze(2).numpy()).save(file, "JPEG", quality=quality)
        pixels = torch.from_numpy(np.array(Image.open(file)))
        found.append(pixels.permute(2, 0, 1) if pixels.dim() == 3 else pixels[None])
    return from_levels(torch.stack(found)).to(images.device)
