"""Converts images between the range of networks and that of files."""

import numpy as np
import torch
from torch import Tensor

LEVELS = {torch.uint8: 255, torch.uint16: 65535}    # the highest level of images as they are stored


def to_uint8(images: Tensor) -> Tensor:
    """[-1, 1] to 0 ... 255, rounded and clamped as StyleGAN's evaluation does; any shape, on the same device."""
    return (images.float() * 127.5 + 128).clamp(0, 255).to(torch.uint8)


def to_uint16(images: Tensor) -> Tensor:
    """[-1, 1] to 0 ... 65535, rounded and clamped; any shape, on the same device."""
    return ((images.float() + 1) * 32767.5).round().clamp(0, 65535).to(torch.uint16)


def from_levels(images: Tensor) -> Tensor:
    """0 ... 255, or 0 ... 65535 of uint16, to [-1, 1], float32; [N, C, H, W] in channels_last. Volumes [N, 1, D, H, W]
    to [0, 1]: how much of each voxel is filled."""
    most = LEVELS.get(images.dtype, 255)
    if images.dim() == 5:
        return images.to(torch.float32).div_(most)
    layout = torch.channels_last if images.dim() == 4 else torch.preserve_format
    return images.to(torch.float32, memory_format=layout).div_(most / 2).sub_(1)


def shown(images: Tensor) -> Tensor:
    """What pictures and metrics show of images [N, C, H, W]: the first three channels as red, green and blue, or the
    first one as grey if there are fewer."""
    return images[:, : shown_channels(images.shape[1])]


def shown_pixels(pixels: np.ndarray) -> np.ndarray:
    """The same of a stored image, uint8 or uint16 [H, W, C], as uint8."""
    pixels = pixels[..., : shown_channels(pixels.shape[2])]
    if pixels.dtype == np.uint8:
        return pixels
    return ((pixels.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)


def shown_channels(channels: int) -> int:
    return 3 if channels >= 3 else 1


def showing(channels: int) -> str:
    """What pictures and metrics show, in words; empty if it is everything."""
    if channels in (1, 3):
        return ""
    return "channels 1 to 3 as red, green and blue" if channels > 3 else "channel 1 as grey"
