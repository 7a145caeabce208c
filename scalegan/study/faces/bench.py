"""What the study measures with: test photos, and judges that have nothing to do with the runs."""

import json
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from scalegan.checkpoints.exports import load
from scalegan.data.manifest import digest_of
from scalegan.data.pixels import from_levels, to_uint8
from scalegan.engines.ranks import Ranks
from scalegan.faces.identity import Embedding
from scalegan.faces.squares import CROPS, Squares
from scalegan.metrics import extractors
from scalegan.metrics.features import collect
from scalegan.metrics.frechet import of_moments
from scalegan.metrics.gaussian import Moments
from scalegan.probing.classifier import Classifier, fit_cnn
from scalegan.probing.labelled import Labelled
from scalegan.study.faces.trainings import Plan
from scalegan.study.runs import images_of
from scalegan.support.files import write_whole
from scalegan.support.keys import key_of
from scalegan.support.progress import Bar

COMPARED = 200                  # faces at most that identity distances are means over
_AT_ONCE, _EXTRACTED = 100, 32
_OTHER_SEED = 1_000_003         # of the classifier that judges: none of the study's own


class Bench:
    """The study's photos, runs and judges, each of which is made when first needed.

    Args:
        plan: of the trainings, which are finished.
        attributes: that change, those of the question of transformation first.
        train, test: photos in a random order, with the same attributes in the same order.
    """

    def __init__(self, plan: Plan, attributes: Sequence[str], train: Labelled, test: Labelled) -> None:
        self.plan, self.attributes, self.train, self.test, self.names = plan, attributes, train, test, train.names
        self.ranks, self._known = Ranks(0, 1, torch.device("cpu")), {}

    @cached_property
    def photos(self) -> Tensor:
        """The test photos, uint8 [n, 3, H, W]."""
        return self.test.read("test photos")

    @property
    def labels(self) -> Tensor:
        """Their attributes, 0 or 1, float32 [n, K]."""
        return self.test.labels.float()

    @cached_property
    def to_learn(self) -> Tensor:
        """The photos for training, uint8 [N, 3, H, W]."""
        return self.train.read("photos to learn from")

    def places(self, names: Sequence[str]) -> list[int]:
        """The columns of attributes in tables of all."""
        return [self.names.index(name) for name in names]

    def run(self, name: str, seed: int) -> Path:
        return self.plan.run(name, seed)

    def network(self, name: str, seed: int, export: str | None = None) -> nn.Module:
        """A network of a run, by its training and export."""
        return load(self.run(name, seed), export)

    @cached_property
    def classifier(self) -> Classifier:
        return fit_cnn(self.to_learn, self.train.labels, seed=_OTHER_SEED)

    def seen(self, images: Tensor) -> Tensor:
        """Which attributes the classifier sees in images uint8 [n, 3, H, W], bool [n, K]."""
        return self.classifier.logits(images) > 0

    @cached_property
    def seen_in_photos(self) -> Tensor:
        return self.seen(self.photos)

    def frechet(self, images: Tensor) -> float:
        """The Fréchet distance of images uint8 [n, 3, H, W] from the test photos, as `scalegan evaluate` has it."""
        return of_moments(self._moments(images, "samples"), self._of_photos)

    @cached_property
    def _of_photos(self) -> Moments:
        return self._moments(self.photos, "real images")

    @cached_property
    def _extractor(self) -> extractors.Extractor:
        return extractors.load("efflite0", None, None, self.ranks.device)

    def _moments(self, images: Tensor, what: str) -> Moments:
        with Bar(what, len(images)) as bar:
            return collect(InMemory(images), np.arange(len(images)), self._extractor, self.ranks, _EXTRACTED, False,
                           bar.advance).moments

    def load_judges(self) -> None:
        """Raises UserError if features or the embedding lack their packages."""
        _ = self.embedding, self._extractor

    @cached_property
    def embedding(self) -> Embedding:
        """What tells people apart. Raises UserError if its package is missing."""
        return Embedding()

    def identity(self, before: Tensor, after: Tensor) -> Tensor:
        """Identity distances [n] of faces uint8 [N, 3, H, W], of the first ones at most."""
        with Bar("identities", 2 * len(before[:COMPARED]), unit="faces") as bar:
            return (self._embedded(before[:COMPARED], bar) - self._embedded(after[:COMPARED], bar)).norm(dim=1)

    @cached_property
    def _landmarks(self) -> np.ndarray:
        how = self.plan.train.reader.manifest.image.crop
        return Squares(self.plan.train.shape, how if how in CROPS else CROPS[0], None).landmarks

    def _embedded(self, faces: Tensor, bar: Bar) -> Tensor:
        """[n, 128]; photos, which come up again and again, only once."""
        found = []
        for face in faces.split(1):
            key = digest_of(face.numpy().tobytes())
            if key not in self._known:
                self._known[key] = self.embedding(face, self._landmarks)
            found.append(self._known[key])
            bar.advance(1)
        return torch.cat(found)

    def kept(self, question: str, row: str, seed: int, trainings: Sequence[str],
             make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Figures that are made once for the same photos and runs, and kept in `out`/figures."""
        key = key_of(self.train.images.content, self.test.images.content, len(self.test), seed, *self.attributes,
                     *((name, images_of(self.run(name, seed))) for name in trainings))
        path = self.plan.out / "figures" / question / f"{row}_{key:016x}.json".lower().replace(" ", "_")
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, json.dumps(make(), indent=1) + "\n")
        return json.loads(path.read_text())


class InMemory:
    """Images uint8 [n, C, H, W] as a set, for features."""

    name = "the study's images"

    def __init__(self, images: Tensor) -> None:
        self.images, self.shape = images, tuple(images.shape[1:])

    def __len__(self) -> int:
        return len(self.images)

    def read(self, number: int) -> np.ndarray:
        return self.images[number].permute(1, 2, 0).numpy()


@torch.inference_mode()
def made(network: nn.Module, *inputs: Tensor) -> Tensor:
    """What a network makes of its inputs, uint8 [n, 3, H, W]; of these, images are uint8, too."""
    parts = zip(*(one.split(_AT_ONCE) for one in inputs))
    return torch.cat([to_uint8(network(*(from_levels(one) if one.dtype == torch.uint8 else one for one in part)))
                      for part in parts]).contiguous()


@torch.inference_mode()
def recognised(network: nn.Module, images: Tensor) -> Tensor:
    """The probabilities of attributes [n, K] that a network finds in images uint8 [n, 3, H, W]."""
    return torch.cat([network(from_levels(part)) for part in images.split(_AT_ONCE)])


def l1(before: Tensor, after: Tensor) -> float:
    """The mean absolute difference of images uint8, in levels of 255."""
    return float((after.float() - before.float()).abs().mean())
