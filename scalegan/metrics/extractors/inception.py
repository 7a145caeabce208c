"""The Inception network of the published FID (the TensorFlow graph of 2015-12-05), as torch-fidelity ports it.

No package ships its weights: download `weights-inception-2015-12-05-6726825d.pth`, and pass it with --weights.
"""

import io
import os
import pickle
from pathlib import Path

import torch
from torch import Tensor, nn

from scalegan.errors import UserError
from scalegan.metrics import resize
from scalegan.metrics.extractors.base import Extractor, Features, fold, sha256_of

FILE = "weights-inception-2015-12-05-6726825d.pth"
OFFICIAL_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
RESIZES = (resize.TF1_BILINEAR, resize.CLEAN)
_SIZE = 299
_LAYERS = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "MaxPool_1", "Conv2d_3b_1x1", "Conv2d_4a_3x3",
           "MaxPool_2", "Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e",
           "Mixed_7a", "Mixed_7b", "Mixed_7c", "AvgPool")


class Inception(nn.Module):
    """Pixels 0 ... 255, [N, 3, 299, 299], to 2,048 features and 1,008 logits without bias."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        for module in network.modules():
            if hasattr(module, "conv") and hasattr(module, "bn"):
                fold(module.conv, module.bn)
                module.bn = nn.Identity()
        self.layers = nn.Sequential(*(getattr(network, name) for name in _LAYERS))
        self.classes = network.fc.weight

    def forward(self, images: Tensor) -> Features:
        vectors = self.layers((images - 128) / 128).flatten(1)
        return Features(vectors, vectors @ self.classes.T)


def find_weights(given: Path | None) -> Path | None:
    """The file named by --weights or $SCALEGAN_WEIGHTS (a file, or a folder that contains it), or None."""
    named = given or os.environ.get("SCALEGAN_WEIGHTS")
    if not named:
        return None
    path = Path(os.path.expanduser(named))      # which, unlike Path's, does without a home
    return path / FILE if path.is_dir() else path


def load(weights: Path | None, how: str, device: torch.device) -> Extractor:
    """Raises UserError if the weights are missing or belong to another network."""
    path = find_weights(weights)
    if path is None or not path.is_file():
        where = f"{path} does not exist" if path else "no weights are given"
        raise UserError(f"the Inception extractor needs its weights, but {where}: pass {FILE} (from torch-fidelity's "
                        "release v0.2.0) with --weights or $SCALEGAN_WEIGHTS, or use --extractor efflite0, whose "
                        "weights come with a package; nothing is downloaded")
    sha256 = sha256_of(path)
    official = sha256 == OFFICIAL_SHA256
    net = Inception(_network(path)).to(device, memory_format=torch.channels_last)
    return Extractor("inception" if official else f"inception-{sha256[:8]}", sha256, official, how, _SIZE, net, device)


def _network(path: Path) -> nn.Module:
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError:
        raise UserError("the Inception extractor needs torch-fidelity: pip install 'scalegan[metrics]'") from None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        # torch-fidelity would unpickle the user's file, so it gets a copy that holds only tensors.
        tensors = io.BytesIO()
        torch.save({name: tensor for name, tensor in state.items() if isinstance(tensor, Tensor)}, tensors)
        tensors.seek(0)
        return FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=tensors)
    except (RuntimeError, pickle.UnpicklingError, OSError, EOFError, AttributeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{path} does not hold the weights of torch-fidelity's Inception ({reason}); "
                        f"use {FILE}") from error
