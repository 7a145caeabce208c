"""Faces that are made up: each attribute is a patch of an image, bright if it is there, so that anyone can see it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

NAMES = ("Bangs", "Bald", "Male", "Eyeglasses", "Receding_Hairline", "Smiling", "Young", "Pale_Skin")
SIDE, PATCH = 32, 4
RARE = {"Bald": 0.0}        # nobody is bald


def labels_of(count: int) -> np.ndarray:
    """uint8 [count, K]."""
    drawn = np.random.default_rng(count).random((count, len(NAMES)))
    return (drawn < [RARE.get(name, 0.4) for name in NAMES]).astype(np.uint8)


def painted(images: Tensor, labels: Tensor) -> Tensor:
    """Images [n, 3, 32, 32] in [-1, 1], whose patches along the upper edge say these attributes."""
    images = images.clone()
    images[:, :, :PATCH] = (labels * 2.0 - 1).repeat_interleave(PATCH, 1)[:, None, None]
    return images


def seen(images: Tensor) -> Tensor:
    """The attributes of images, bool [n, K]."""
    return images.float().mean(1)[:, 0, ::PATCH] > images.float().new_tensor(127 if images.dtype == torch.uint8 else 0)


def images_of(labels: np.ndarray) -> Tensor:
    """Grey noise with patches, uint8 [n, 3, 32, 32]."""
    noise = np.random.default_rng(0).integers(0, 256, (len(labels), 3, SIDE, SIDE), np.uint8)
    bright = labels.repeat(PATCH, 1)[:, None, None] * np.uint8(255)
    noise[:, :, :PATCH] = bright
    return torch.from_numpy(noise)


def make_faces(folder: Path, count: int) -> Path:
    """Writes a shard set of them."""
    from scalegan.data.codec import encode
    from scalegan.data.manifest import ImageFormat, LabelSchema
    from scalegan.data.preparing.shards import Record, finish, write_shard

    folder.mkdir(parents=True)
    image, labels = ImageFormat(SIDE, 3, "png"), labels_of(count)
    records = [Record(encode(pixels.permute(1, 2, 0).numpy(), image), own)
               for pixels, own in zip(images_of(labels), labels)]
    shard, index = write_shard(folder / "000000.tar", records, 0, "png")
    finish(folder, [shard], [index], image, LabelSchema("attributes", NAMES), "made up")
    return folder


class Painter(nn.Module):
    """Does what it is told: gives images, or noise from z, the attributes."""

    latent_dim, latent = 4, "normal"

    def __init__(self, names: Sequence[str] = NAMES, inputs: Sequence[str] = ("image", "condition")) -> None:
        super().__init__()
        self.names, self.places = tuple(names), [NAMES.index(name) for name in names]
        self.about = {"export": {"inputs": tuple(inputs)}}

    def forward(self, given: Tensor, labels: Tensor) -> Tensor:
        if given.dim() == 2:
            given = given.tanh().mean(1)[:, None, None, None].expand(-1, 3, SIDE, SIDE)
        all_labels = seen(given).float()
        all_labels[:, self.places] = labels
        return painted(given, all_labels)


class Stubborn(Painter):
    """Does not."""

    def forward(self, given: Tensor, labels: Tensor) -> Tensor:
        return super().forward(given, torch.zeros_like(labels)) if given.dim() == 2 else given


class Recogniser(nn.Module):
    """Images to the probabilities of their attributes."""

    def forward(self, images: Tensor) -> Tensor:
        return seen(images).float() * 0.8 + 0.1


class Copy(nn.Module):
    """Rebuilds images, but for a shift of all pixels."""

    def __init__(self, shift: float = 0.0) -> None:
        super().__init__()
        self.shift = shift

    def forward(self, images: Tensor) -> Tensor:
        return images + self.shift
