"""Converts images between the range of networks and that of files."""

import torch
from torch import Tensor


def to_uint8(images: Tensor) -> Tensor:
    """[-1, 1] to 0 ... 255, rounded and clamped as StyleGAN's evaluation does; any shape, on the same device."""
    return (images.float() * 127.5 + 128).clamp(0, 255).to(torch.uint8)


def from_uint8(images: Tensor) -> Tensor:
    """0 ... 255 to [-1, 1], float32; [N, C, H, W] in channels_last. Volumes [N, 1, D, H, W] to [0, 1]: how much of each
    voxel is filled."""
    if images.dim() == 5:
        return images.to(torch.float32).div_(255)
    layout = torch.channels_last if images.dim() == 4 else torch.preserve_format
    return images.to(torch.float32, memory_format=layout).div_(127.5).sub_(1)
