"""Labelled images in memory, as a run's networks see them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from scalegan.config import Data
from scalegan.data.pixels import from_uint8
from scalegan.data.preparing.embedded import folder_of, is_embedded, make_embedded
from scalegan.data.reading.cache import is_url
from scalegan.data.spec import Spec
from scalegan.engines.ranks import join
from scalegan.errors import UserError
from scalegan.metrics.images import Images, RunImages, StoredImages, described

MOST = 10_000       # images that are taken, spread evenly over a larger set


@dataclass(frozen=True)
class LabelledImages:
    """Images and their labels.

    Args:
        pixels: uint8 [N, C, H, W].
        labels: classes int64 [N], or attributes uint8 [N, K].
        names: of the classes or attributes.
    """

    pixels: Tensor
    labels: Tensor
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.pixels)

    def images(self, first: int, end: int) -> Tensor:
        """Images [n, C, H, W] in [-1, 1]."""
        return from_uint8(self.pixels[first:end])

    @property
    def shares(self) -> Tensor:
        """Whether each image has each label, float32 [N, K]."""
        if self.labels.dim() == 2:
            return self.labels.float()
        return torch.nn.functional.one_hot(self.labels, len(self.names)).float()


def labelled_images(path: str, spec: Spec, run: object) -> LabelledImages:
    """The images of a shard set, folder or zip, or embedded set. Those of a folder are cropped and resized.

    Raises:
        UserError: if they have no labels, or another size or other colours than the run's samples.
    """
    images = _opened(path, spec.shape[-1])
    if images.labels is None or (not len(images.classes) and images.labels.ndim == 2):
        raise UserError(f"{path} has no labels; name images with classes or attributes, such as shards that `scalegan "
                        "prepare` wrote with --labels class or --labels attributes")
    if images.shape != spec.shape:
        raise UserError(f"{path} has images of {described(images.shape)}, but {run} makes {described(spec.shape)}; "
                        "prepare them as the run's were")
    chosen = np.linspace(0, len(images) - 1, min(MOST, len(images))).astype(np.int64)
    try:
        pixels = np.stack([images.read(int(number)) for number in chosen])
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: an image cannot be read: {error}; remove it, or use `scalegan prepare`, which skips "
                        "such images") from error
    labels = images.labels[chosen]
    names = images.classes or tuple(str(number) for number in range(int(labels.max()) + 1))
    return LabelledImages(torch.from_numpy(pixels).movedim(3, 1), torch.from_numpy(labels), names)


def _opened(path: str, size: int) -> Images:
    if is_embedded(path):
        make_embedded(Data(path=path, resolution=size), join())
        path = str(folder_of(path, size))
    if is_url(path) or (Path(path) / "manifest.json").is_file():
        return StoredImages(path)
    if not Path(path).exists():
        raise UserError(f"{path} does not exist")
    return RunImages(Path(path), size)
