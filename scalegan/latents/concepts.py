"""Concept vectors: the mean latent of samples that have an attribute, minus that of those that have not.

With an encoder, samples are labelled images; without one, they are generated, and a classifier that was trained on the
labelled images says what they have (White, 2016, "Sampling Generative Networks"). If z is normally distributed and an
attribute depends on the side of a hyperplane on which it lies, the vector is parallel to the plane's normal.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalegan.data.pixels import from_levels, to_uint8
from scalegan.data.spec import Spec
from scalegan.latents.space import Space
from scalegan.probing.classifier import Classifier, fit_cnn
from scalegan.probing.labelled import open_labelled
from scalegan.support.progress import Bar

_MOST = 10_000      # images that are taken
_LEAST = 10         # samples with, and without, an attribute
TOO_FEW = f"fewer than {_LEAST} samples have it, or lack it"
_AT_ONCE = 100
_SIDE = 64          # pixels at most that the classifier sees


@dataclass(frozen=True)
class LabelledImages:
    """Images and their labels.

    Args:
        pixels: uint8 [N, C, H, W].
        labels: classes int64 [N], or attributes, 0 or 1, [N, K].
        names: of the classes or attributes.
    """

    pixels: Tensor
    labels: Tensor
    names: tuple[str, ...]

    @property
    def shares(self) -> Tensor:
        """Whether each image has each label, [N, K]."""
        return self.labels if self.labels.dim() == 2 else F.one_hot(self.labels, len(self.names))


def labelled_images(path: str, spec: Spec) -> LabelledImages:
    """The images of a labelled set, or 10,000 random ones of them.

    Args:
        spec: what the run's samples are.

    Raises:
        UserError: if they have no labels, or another shape than the run's samples.
    """
    found = open_labelled(path, spec)[:_MOST]
    labels = found.labels
    names = tuple(found.names) or tuple(str(number) for number in range(int(labels.max()) + 1))
    return LabelledImages(found.read("reading images"), labels, names)


def concept_vectors(points: Tensor, shares: Tensor, names: Sequence[str]) -> tuple[dict[str, Tensor], list[str]]:
    """The vector [dim] of each attribute, by name; and the names of those that too few samples have, or lack.

    Args:
        points: latents [n, dim].
        shares: whether each sample has each attribute, [n, K]: 0 or 1, or a probability, by which it then counts on
            both sides.
    """
    points, shares = points.cpu().double(), shares.cpu().double()
    found, left_out = {}, []
    for name, share in zip(names, shares.T):
        if min(share.sum(), (1 - share).sum()) < _LEAST:
            left_out.append(name)
        else:
            found[name] = share @ points / share.sum() - (1 - share) @ points / (1 - share).sum()
    return found, left_out


def encoded(encoder: nn.Module, data: LabelledImages, dim: int) -> Tensor:
    """The latents [N, dim] of images; zeros for what an encoder leaves out, as the class of a semi-supervised
    autoencoder."""
    device = next(encoder.parameters()).device

    def encode(first: int, end: int) -> Tensor:
        return encoder(from_levels(data.pixels[first:end].to(device))).cpu()

    codes = _in_batches(encode, len(data.pixels), "encoding images")
    return F.pad(codes, (0, dim - codes.shape[1]))


def of_samples(space: Space, points: Tensor, labels: Tensor | None, data: LabelledImages) -> Tensor:
    """The probability [n, K] that the sample of each point has each label of the images, by a classifier that is
    trained on these."""
    classifier = fit_cnn(_small(data.pixels), data.labels, len(data.names))

    def seen(first: int, end: int) -> Tensor:
        images = space.images(points[first:end], None if labels is None else labels[first:end])
        return probabilities(classifier, images, data.labels.dim() == 2)

    return _in_batches(seen, len(points), "generating samples")


def probabilities(classifier: Classifier, images: Tensor, attributes: bool) -> Tensor:
    """The probability of each label [n, K] of images [n, C, H, W] in [-1, 1]."""
    logits = classifier.logits(_small(to_uint8(images)))
    return logits.sigmoid() if attributes else logits.softmax(1)


def _small(pixels: Tensor) -> Tensor:
    """uint8 [N, C, H, W] with at most 64 px on a side, which is what CPUs can train a classifier on."""
    sides = [min(side, _SIDE) for side in pixels.shape[2:]]
    if sides == list(pixels.shape[2:]):
        return pixels
    return torch.cat([F.adaptive_avg_pool2d(part.float(), sides).round().byte() for part in pixels.split(_AT_ONCE)])


@torch.no_grad()
def _in_batches(work: Callable[[int, int], Tensor], count: int, what: str) -> Tensor:
    """`work(first, end)` for all of `count` samples, with a progress bar."""
    parts = []
    with Bar(what, count) as bar:
        for first in range(0, count, _AT_ONCE):
            end = min(first + _AT_ONCE, count)
            parts.append(work(first, end))
            bar.advance(end - first)
    return torch.cat(parts)
