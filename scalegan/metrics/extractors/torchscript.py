"""TorchScript extractors, such as those that NVIDIA publishes: uint8 [N, 3, H, W] in, features [N, d] out.

A TorchScript file is a program, and loading it runs it, so it is only loaded from an explicit path.
"""

import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from scalegan.errors import UserError
from scalegan.metrics.extractors.base import Extractor, Features, sha256_of

OWN_RESIZE = "own"


class Scripted(nn.Module):
    """Calls the script as NVIDIA's metrics do, with `return_features` if it has that argument."""

    def __init__(self, script: torch.jit.ScriptModule) -> None:
        super().__init__()
        self.script = script
        asked = [argument.name for argument in script.forward.schema.arguments]
        self.options = {"return_features": True} if "return_features" in asked else {}

    def forward(self, images: Tensor) -> Features:
        out = self.script(images, **self.options)
        return Features(out.flatten(1).float(), None)


def load(path: Path, device: torch.device) -> Extractor:
    """Raises UserError if the file is not a TorchScript module."""
    script = _script(path, "--extractor", device)
    return Extractor(path.stem, sha256_of(path), False, OWN_RESIZE, None, Scripted(script), device)


def load_perceptual(path: Path, device: torch.device) -> Callable[[Tensor], Tensor]:
    """An LPIPS network as NVIDIA publishes it (vgg16.pt): float images [N, C, H, W] in 0 ... 255 to vectors [N, d]
    whose squared distance is LPIPS."""
    script = _script(path, "--lpips", device)
    asked = [argument.name for argument in script.forward.schema.arguments]
    options = {name: value for name, value in (("resize_images", False), ("return_lpips", True)) if name in asked}
    return lambda images: script(images.to(device).expand(-1, 3, -1, -1), **options).flatten(1)


def _script(path: Path, option: str, device: torch.device) -> torch.jit.ScriptModule:
    if not path.is_file():
        raise UserError(f"{option} {path} does not exist")
    try:
        with warnings.catch_warnings():     # torch deprecates TorchScript, but the published extractors use it
            warnings.simplefilter("ignore", FutureWarning)
            return torch.jit.load(str(path), map_location=device).eval()
    except RuntimeError as error:
        raise UserError(f"{option} {path} is not a TorchScript module "
                        f"({str(error).strip().splitlines()[0]})") from error
