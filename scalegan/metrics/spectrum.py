"""How much of an image lies at high frequencies: what a blur removes, and a sharp answer has."""

import torch
from torch import Tensor

_HALF_NYQUIST = 0.25        # cycles per pixel


def high_frequency_power(images: Tensor) -> Tensor:
    """[N]: variance of the pixels of images [N, C, H, W] at frequencies above half the Nyquist frequency, in any
    direction, a mean over the channels. Mirrored images have no seam at their edges that would count as well."""
    mirrored = torch.cat([images, images.flip(3)], 3)
    mirrored = torch.cat([mirrored, mirrored.flip(2)], 2)
    power = torch.fft.fft2(mirrored, norm="forward").abs().square()
    down, across = (torch.fft.fftfreq(size, device=images.device) for size in mirrored.shape[2:])
    return (power * (torch.hypot(down[:, None], across) > _HALF_NYQUIST)).sum((2, 3)).mean(1)
