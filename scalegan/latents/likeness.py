"""How much images differ: in their pixels, and in ImageNet features where the packages with these are installed."""

import torch
from torch import Tensor, nn

from scalegan.data.pixels import shown
from scalegan.models import efflite0

_FEATURES = 0.02    # weight of their relative squared error


class Likeness:
    """The mean squared difference of pixels and, with less weight, of features, as in the projection of Zhu et al.
    (2016, section 4.1), whose features are AlexNet's.

    Attributes:
        name: what is compared.
    """

    def __init__(self, device: torch.device) -> None:
        self.features = _features(device)
        self.name = "pixels and EfficientNet-Lite0" if self.features else "pixels"

    def __call__(self, images: Tensor, target: Tensor) -> Tensor:
        """The difference [n] of images [n, C, H, W] in [-1, 1] from the target [1, C, H, W]; 0 if they are equal."""
        pixels = (images - target).square().mean((1, 2, 3))
        if self.features is None:
            return pixels
        found, wanted = self.features(shown(images)), self.features(shown(target))
        return pixels + _FEATURES * (found - wanted).square().mean((1, 2, 3)) / wanted.square().mean()


def _features(device: torch.device) -> nn.Module | None:
    """The bundled network; None if it is not installed."""
    try:
        return efflite0.Features().to(device).eval().requires_grad_(False)
    except ImportError:
        return None
