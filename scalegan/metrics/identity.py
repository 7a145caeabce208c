"""Whether people in photos stay the same people in what a game makes of them.

identity: the mean distance of a photo's face embedding from that of its rebuilding, or of its translation. Both are cut
    out where faces are in this set: by the median landmarks of some of its photos.
identity_kept: how often a photo is nearer to its own rebuilding than to another person's photo; the mean over all
    pairs.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scalegan.data.pixels import from_levels, to_uint8
from scalegan.engines.ranks import Ranks
from scalegan.errors import UserError
from scalegan.faces.detection import Detector
from scalegan.faces.identity import NAME, Embedding
from scalegan.faces.resnet import LENGTH
from scalegan.metrics.face_networks import Faces
from scalegan.metrics.images import Images
from scalegan.metrics.samples import read
from scalegan.support.devices import double

SEARCHED = 64       # photos of each domain in which faces are looked for
INVERTED = 100      # photos in which each attribute is inverted
_ROWS = 256         # of the matrix of distances at once

Advance = Callable[[int], None]


def steps(faces: Faces, count: int) -> int:
    """How far `of_photos` advances its bar in all, for `count` photos of each domain: about how many it embeds."""
    return 2 * count * len(faces.photos) + (min(count, INVERTED) * len(faces.names) if faces.transform else 0)


def constant(faces: Faces, count: int) -> str:
    """What the figures depend on besides the photos, their number and the network."""
    inverted = f", attributes inverted in {min(count, INVERTED)}" if faces.transform else ""
    return f"{NAME}, {count:,} photos{' of each domain' * (len(faces.photos) > 1)}{inverted}"


@torch.inference_mode()
def of_photos(faces: Faces, numbers: np.ndarray, batch_size: int, ranks: Ranks, advance: Advance,
              ) -> tuple[dict[str, float], dict[str, Any]]:
    """The figures over the photos with these numbers, the same on any number of ranks; and beside them

        embedding: the name of the network and the hash of its weights;
        same_person, different_people: mean distances of two photos, and how many pairs there are. Where the data does
            not say who its photos show, all are taken for different people;
        inverted: by attribute, the mean distance of a photo from itself with the attribute inverted.

    Raises:
        UserError: if the packages are missing, or none of the first photos has a face.
    """
    measured = ranks.run_collectively(lambda: _Measured(faces, numbers, batch_size, ranks))
    vectors, figures, near = [], {}, []
    for stream in faces.photos:
        own, distances = measured.answers(stream, advance)
        vectors.append(own)
        figures[stream] = distances.mean().item()
        near.append(distances)
    people = [None if images.people is None else torch.from_numpy(images.people[numbers])
              for images in faces.photos.values()]
    known = None if any(one is None for one in people) else torch.cat(people)
    among, kept = _among(torch.cat(vectors), torch.cat(near), known)
    metrics = {"identity": float(np.mean(list(figures.values()))), "identity_kept": kept}
    if len(figures) > 1:
        metrics |= {f"identity_{stream}": value for stream, value in figures.items()}
    inverted = measured.inverted(advance) if faces.transform else {}
    return metrics, {"embedding": measured.embedding.identity, **among, "inverted": inverted}


class _Measured:
    """Embeds photos and what is made of them, each rank its share of the batches."""

    def __init__(self, faces: Faces, numbers: np.ndarray, batch_size: int, ranks: Ranks) -> None:
        self.faces, self.numbers, self.batch_size, self.ranks = faces, numbers, batch_size, ranks
        self.embedding, detector = Embedding(ranks.device), Detector(ranks.device)
        self.landmarks = {stream: median_landmarks(images, numbers[:SEARCHED], detector)
                          for stream, images in faces.photos.items()}

    def answers(self, stream: str, advance: Advance) -> tuple[Tensor, Tensor]:
        """Embeddings of the photos of a stream, [n, 128], and their distances from their answers, [n]; float64."""
        vectors = torch.zeros(len(self.numbers), LENGTH, dtype=torch.float64)
        distances = torch.zeros(len(self.numbers), dtype=torch.float64)

        def work(part: slice) -> None:
            photos = self._photos(stream, part)
            vectors[part] = self._embedded(stream, photos)
            distances[part] = self._distances(stream, vectors[part], self.faces.answers[stream](from_levels(photos)))

        self._share(len(self.numbers), work, lambda photos: advance(2 * photos))
        return self._joined(vectors), self._joined(distances)

    def inverted(self, advance: Advance) -> dict[str, float]:
        """By attribute: the mean distance of photos from themselves with the attribute inverted, and the others as the
        game recognises them."""
        stream, count = next(iter(self.faces.photos)), min(len(self.numbers), INVERTED)
        distances = torch.zeros(count, len(self.faces.names), dtype=torch.float64)

        def work(part: slice) -> None:
            part = slice(part.start, min(part.stop, count))
            stored = self._photos(stream, part)
            photos, own = from_levels(stored), self._embedded(stream, stored)
            found = self.faces.recognise(photos)
            for column in range(distances.shape[1]):
                asked = found.clone()
                asked[:, column] = (found[:, column] <= 0.5).to(found.dtype)
                distances[part, column] = self._distances(stream, own, self.faces.transform(photos, asked))

        self._share(count, work, lambda photos: advance(photos * len(self.faces.names)))
        return dict(zip(self.faces.names, self._joined(distances).mean(0).tolist()))

    def _share(self, count: int, work: Callable[[slice], None], advance: Advance) -> None:
        def share() -> None:
            step = self.ranks.world_size * self.batch_size
            for start in range(self.ranks.rank * self.batch_size, count, step):
                work(slice(start, start + self.batch_size))
                advance(min(step, count - start))

        self.ranks.run_collectively(share)

    def _photos(self, stream: str, part: slice) -> Tensor:
        return read(self.faces.photos[stream], self.numbers[part]).to(self.ranks.device)

    def _embedded(self, stream: str, images: Tensor) -> Tensor:
        return double(self.embedding(images, self.landmarks[stream]))

    def _distances(self, stream: str, own: Tensor, made: Tensor) -> Tensor:
        return (self._embedded(stream, to_uint8(made)) - own).norm(dim=1)

    def _joined(self, table: Tensor) -> Tensor:
        return torch.stack(self.ranks.all_gather(table)).sum(0)


def median_landmarks(images: Images, numbers: np.ndarray, detector: Detector) -> np.ndarray:
    """Where faces are in a set whose faces are all in one place: the medians of the landmarks of the largest face in
    each of these images, [5, 2].

    Raises:
        UserError: if none has a face.
    """
    pixels = read(images, numbers).movedim(1, 3).numpy()
    found = [faces[0].landmarks for faces in map(detector, pixels) if faces]
    if not found:
        raise UserError(f"there is no face in the first {len(numbers)} of the images of {images.name}; identity needs "
                        "photos of faces, cut out as `scalegan prepare` does it from CelebA")
    return np.median(found, axis=0)


def _among(vectors: Tensor, near: Tensor, people: Tensor | None) -> tuple[dict[str, Any], float]:
    """Mean distances of photos of one person and of two, and how often a photo's own answer is nearer than another
    person's photo."""
    totals, counts, kept = torch.zeros(2, dtype=torch.float64), torch.zeros(2, dtype=torch.long), []
    names = torch.arange(len(vectors)) if people is None else people
    for rows in torch.arange(len(vectors)).split(_ROWS):
        distances = torch.cdist(vectors[rows], vectors, compute_mode="donot_use_mm_for_euclid_dist")
        same = names[rows, None] == names
        kept.append(((distances > near[rows, None]) & ~same).sum(1) / (~same).sum(1))
        later = torch.arange(len(vectors)) > rows[:, None]
        for index, pairs in enumerate((same & later, ~same & later)):
            totals[index] += distances[pairs].sum()
            counts[index] += pairs.sum()
    means = [total / count if count else None for total, count in zip(totals.tolist(), counts.tolist())]
    of_two = {name: {"distance": mean, "pairs": count}
              for name, mean, count in zip(("same_person", "different_people"), means, counts.tolist())}
    return of_two, torch.cat(kept).nanmean().item()
