"""Labelled images for a probe: opened, checked, divided and read."""

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from scalegan.config import Data
from scalegan.data.preparing.embedded import folder_of, is_embedded, make_embedded
from scalegan.data.preparing.sources.survey import shortened
from scalegan.data.reading.cache import is_url
from scalegan.data.spec import Spec
from scalegan.engines.ranks import join
from scalegan.errors import UsageError, UserError
from scalegan.metrics.images import Images, StoredImages, described, open_images
from scalegan.support.keys import key_of
from scalegan.support.progress import Bar
from scalegan.support.resolution import of_sides

HELD_OUT = 5        # a fifth of the images, where no test set is named
_READERS, _AT_ONCE = 8, 512


@dataclass(frozen=True)
class Labelled:
    """Some images of a labelled set, in a fixed random order.

    Args:
        images: the whole set.
        numbers: which of its images these are, int64 [n].
        table: labels of the whole set: classes, int64 [N], or attributes, 0 or 1, [N, K].
        names: of the classes or attributes.
    """

    images: Images
    numbers: np.ndarray
    table: np.ndarray
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, part: slice) -> "Labelled":
        return replace(self, numbers=self.numbers[part])

    @property
    def labels(self) -> Tensor:
        """Classes, int64 [n], or attributes, int64 [n, K]."""
        return torch.from_numpy(self.table[self.numbers].astype(np.int64))

    @property
    def are_attributes(self) -> bool:
        return self.table.ndim == 2

    def parts(self) -> list["Labelled"]:
        """As many at a time as fit in memory in any case."""
        return [self[first : first + _AT_ONCE] for first in range(0, len(self), _AT_ONCE)]

    def read(self, what: str) -> Tensor:
        """The images, uint8 [n, C, H, W], with a progress bar named `what`."""
        with Bar(what, len(self)) as bar:
            found = []
            for part in self.parts():
                found.append(part.pixels())
                bar.advance(len(part))
        return torch.cat(found)

    def pixels(self) -> Tensor:
        """The images, uint8 [n, C, H, W], or volumes [n, 1, D, H, W]. Raises UserError for one that cannot be read."""
        with ThreadPoolExecutor(_READERS) as pool:
            found = torch.from_numpy(np.stack(list(pool.map(self._one, self.numbers.tolist()))))
        return found if found.dim() == 5 else found.movedim(3, 1)

    def _one(self, number: int) -> np.ndarray:
        try:
            return self.images.read(number)
        except (ValueError, OSError) as error:
            raise UserError(f"{self.images.name}: {self.images.file(number)} cannot be used ({error}); remove it, or "
                            "prepare the data again") from error


def open_labelled(path: str, spec: Spec, option: str = "--data") -> Labelled:
    """Opens a prepared set, a folder or zip of images, or an embedded set, whose images fit a network.

    Args:
        spec: what the network takes.
        option: where errors say that the path was given.

    Raises:
        UserError: if there are no labels that tell images apart, or the images are of another shape.
    """
    if is_embedded(path):
        size = of_sides(*spec.shape[-2:])
        make_embedded(Data(path=path, resolution=size), join())
        path = str(folder_of(path, size))
    images = StoredImages(_shards(path, option), "volume") if spec.kind == "volume" else open_images(path)
    if images.shape != tuple(spec.shape):
        raise UserError(f"{option} {path} has images of {described(images.shape)}, but the run of "
                        f"{described(tuple(spec.shape))}; prepare them alike with `scalegan prepare`")
    if images.labels is None:
        why = f" ({images.unlabelled})" if images.unlabelled else ""
        raise UserError(f"{option} {path} has no labels{why}; prepare it with --labels class or --labels attributes")
    if len(np.unique(images.labels)) < 2:
        raise UserError(f"all images of {option} {path} have the same labels; give a set with two classes or more")
    for remark in images.remarks:
        print(f"{path}: {remark}", file=sys.stderr, flush=True)
    return Labelled(images, _random(len(images)), images.labels, images.classes)


def _shards(path: str, option: str) -> str:
    """The path itself. Raises UserError unless it is that of a prepared set, as volumes have to be."""
    if not is_url(path) and not (Path(path) / "manifest.json").is_file():
        raise UserError(f"{option} {path} is not a prepared set; make one with `scalegan prepare --kind volumes`")
    return path


def halves(labelled: Labelled) -> tuple[Labelled, Labelled]:
    """Images to learn from, and a fifth of the set to test on: the same ones in every run."""
    last = len(labelled) // HELD_OUT
    if not last:
        raise UserError(f"--data {labelled.images.name} has only {len(labelled)} images, and none can be held out; "
                        "name test images with --test")
    return labelled[:-last], labelled[-last:]


def matching(test: Labelled, train: Labelled) -> Labelled:
    """The test images with labels numbered as those to learn from. Raises UserError if they are other labels."""
    kinds = ["attributes" if one.are_attributes else "classes" for one in (train, test)]
    if kinds[0] != kinds[1]:
        raise UserError(f"--data {train.images.name} has {kinds[0]}, but --test {test.images.name} has {kinds[1]}; "
                        "give sets with labels of the same kind")
    if test.names == train.names:
        return test
    lacks, has = (test, train) if test.are_attributes else (train, test)    # attributes need a truth, classes a chance
    if missing := [name for name in has.names if name not in lacks.names]:
        raise UserError(f"{lacks.images.name} lacks the {kinds[0]} {shortened(missing)} of {has.images.name}; give "
                        f"sets whose {kinds[0]} have the same names")
    if test.are_attributes:
        return replace(test, table=test.table[:, [test.names.index(name) for name in train.names]], names=train.names)
    return replace(test, table=np.array([train.names.index(name) for name in test.names])[test.table],
                   names=train.names)


def few(labelled: Labelled, count: int) -> Labelled:
    """`count` of the images: as many of each class as possible; of a set with attributes, the first ones.

    Raises:
        UsageError: if there are not as many, or fewer than two a class are asked for.
    """
    classes = 1 if labelled.are_attributes else len(np.unique(labelled.table[labelled.numbers]))
    if not 2 * classes <= count <= len(labelled):
        raise UsageError(f"--labels {count}: {labelled.images.name} has {len(labelled):,} images to learn from and "
                         f"{classes} class{'es' * (classes > 1)}; choose from {2 * classes} to {len(labelled)}")
    if labelled.are_attributes:
        return labelled[:count]
    own = labelled.table[labelled.numbers]
    place = np.empty(len(own), np.int64)        # among the images of the same class
    for one in np.unique(own):
        place[own == one] = np.arange((own == one).sum())
    chosen = np.sort(np.argsort(place, kind="stable")[:count])
    return replace(labelled, numbers=labelled.numbers[chosen])


def _random(count: int) -> np.ndarray:
    return np.random.Generator(np.random.Philox(key=key_of("probe", "order"))).permutation(count)
