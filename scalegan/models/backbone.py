"""Frozen networks whose features a discriminator learns to predict."""

import math

import torch.nn.functional as F
from torch import Tensor, nn

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)      # of ImageNet, which most published networks expect


class Backbone(nn.Module):
    """Images [N, 3 or 1, H, W] in [-1, 1] -> features of the whole [N, C] and of its parts [N, C, h, w].

    The network gets the image at `size` px. It may give a map [N, C, h, w], tokens [N, T, C], of which one before the
    others is that of the whole, or a vector [N, C]; where it has no features of the whole, they are the mean.

    Args:
        network: takes what `normalised` makes of images.
        normalised: whether the network takes pixels normalised by ImageNet's means and deviations, or in [-1, 1].
    """

    def __init__(self, network: nn.Module, size: int, normalised: bool) -> None:
        super().__init__()
        self.network, self.size, self.normalised = network, size, normalised

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        x = F.interpolate(images.expand(-1, 3, -1, -1), [self.size] * 2, mode="bicubic", align_corners=False)
        if self.normalised:
            mean, std = (x.new_tensor(values).view(3, 1, 1) for values in (_MEAN, _STD))
            x = ((x + 1) / 2 - mean) / std
        found = self.network(x)
        if found.dim() == 2:
            return found, found[:, :, None, None]
        if found.dim() == 4:
            return found.mean((2, 3)), found
        side = math.isqrt(found.shape[1])
        first = found.shape[1] - side**2
        parts = found[:, first:].transpose(1, 2).unflatten(2, (side, side))
        return (found[:, 0] if first else parts.mean((2, 3))), parts
