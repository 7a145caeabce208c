"""The extractor: a network, the hash of its weights, and the resize before it."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from scalegan.data.pixels import shown
from scalegan.metrics import resize
from scalegan.support.reading import regular


class Features(NamedTuple):
    """Vectors [N, d] for distances, and logits [N, classes] or None."""

    vectors: Tensor
    logits: Tensor | None


@dataclass(frozen=True)
class Extractor:
    """A network that turns images into features.

    Args:
        name: shown in results; only figures of the same name and hash are compared.
        sha256: hash of the weights' file.
        official: whether these are the network and the weights of the published FID.
        resize: how images are resized to `size`; "own" if the network does it itself.
        size: side of the network's input, or None if it takes uint8 of any size.
        net: maps float32 [N, 3, size, size] in 0 ... 255 (or uint8 [N, 3, H, W]) to Features.
    """

    name: str
    sha256: str
    official: bool
    resize: str
    size: int | None
    net: nn.Module
    device: torch.device

    @property
    def identity(self) -> dict[str, object]:
        return {"name": self.name, "sha256": self.sha256, "official": self.official}

    @property
    def classifies(self) -> bool:
        """Whether it gives logits: a TorchScript file does not."""
        return self.size is not None

    @property
    def resizes_in_threads(self) -> bool:
        return self.resize == resize.CLEAN

    def prepared(self, pixels: np.ndarray) -> np.ndarray:
        """Prepares one image, uint8 [H, W, C], before batching; called from threads."""
        if self.resizes_in_threads:
            pixels = resize.clean(pixels, self.size)
        return pixels

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Features:
        """Features of prepared images [N, C, H, W]; grey ones are expanded to three channels."""
        images = images.to(self.device, non_blocking=True).expand(-1, 3, -1, -1)
        with _without_tf32():
            if self.size is None:
                return self.net(images)
            if self.resize == resize.TF1_BILINEAR:
                images = resize.tf1_bilinear(images.float(), self.size)
            return self.net(images.float().contiguous(memory_format=torch.channels_last))

    def embed(self, images: Tensor) -> Tensor:
        """Vectors [N, d] of float images [N, C, H, W] in 0 ... 255 that are not yet prepared."""
        images = shown(images)
        if self.resizes_in_threads:
            pixels = images.permute(0, 2, 3, 1).cpu().numpy()
            images = torch.from_numpy(np.stack([self.prepared(one) for one in pixels])).permute(0, 3, 1, 2)
        return self(images).vectors


@contextmanager
def _without_tf32() -> Iterator[None]:
    """Disables TF32, whose 10-bit mantissa is visible in the figures."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def sha256_of(path: Path) -> str:
    with regular(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    """Folds the norm's affine map into the convolution before it, in place, for eval mode; in float64, so that each
    weight is rounded only once."""
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    shift = norm.bias.double() - norm.running_mean.double() * scale
    with torch.no_grad():
        weight = convolution.weight.double() * scale[:, None, None, None]
        convolution.weight.copy_(weight.to(convolution.weight.dtype))
        convolution.bias = nn.Parameter(shift.to(convolution.weight.dtype), requires_grad=False)
