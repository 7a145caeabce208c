"""How well the embedding of faces tells people apart, by how faces are cut out: `python tools/faces_told_apart.py SET`.

SET is what `scalegan evaluate --data` takes: CelebA with its identities, as it is or prepared, or a folder per person.
At most --photos are taken, of the first people with several photos. Prints one JSON object: for the whole image,
enlarged; for faces cut out in one place of all images, the median of their landmarks; and for those cut out by the
landmarks of each:

    auc         how often two photos of one person are nearer than two photos of two
    same        mean distance of two photos of one person
    different   mean distance of two photos of two people
"""

import argparse
import json
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np
import torch
from torch import Tensor

from scalegan.cli import run_verb
from scalegan.faces.detection import Detector
from scalegan.faces.identity import LANDMARKS, Embedding
from scalegan.faces.resnet import SIDE
from scalegan.metrics.images import Images, open_images
from scalegan.metrics.samples import read
from scalegan.support.progress import Bar


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set")
    parser.add_argument("--photos", type=int, default=300)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    print(json.dumps(compared(open_images(options.set), options.photos)))
    return 0


def compared(images: Images, most: int) -> dict[str, object]:
    """The figures above."""
    people = images.labels if images.people is None else images.people
    known, count = np.unique(people, return_counts=True)
    numbers = np.argsort(people, kind="stable")     # one person's together
    numbers = numbers[np.isin(people[numbers], known[count > 1])][:most]
    photos, detector, landmarks = read(images, numbers), Detector(), {}
    with Bar("faces", len(numbers)) as bar:
        for place, photo in enumerate(photos.movedim(1, 3).numpy()):
            faces = detector(photo)
            if faces:       # the one in the middle, where several people are in the photo
                middle = np.array(photo.shape[1::-1]) / 2
                landmarks[place] = min((face.landmarks for face in faces),
                                       key=lambda points: np.linalg.norm(points.mean(0) - middle))
            bar.advance(1)
    kept, each = list(landmarks), np.array(list(landmarks.values()))
    cuts = {"whole": LANDMARKS * np.array(images.shape[:0:-1]) / SIDE, "one place": np.median(each, 0), "each": each}
    embedding, found = Embedding(), {}
    for name, points in cuts.items():
        found[name] = figures(embedding(photos[kept], points).double(), torch.from_numpy(people[numbers][kept]))
    return {"set": images.name, "photos": len(numbers), "with a face": len(kept), **found}


def figures(vectors: Tensor, people: Tensor) -> dict[str, float]:
    """Of embeddings [n, 128] and who they are of [n]."""
    rows, columns = torch.triu_indices(len(vectors), len(vectors), 1)
    distances = (vectors[rows] - vectors[columns]).norm(dim=1)
    same, different = (distances[(people[rows] == people[columns]) == alike].sort().values for alike in (True, False))
    farther = len(different) - torch.searchsorted(different, same, right=True)
    return {"auc": round(farther.double().mean().item() / len(different), 4), "same": round(same.mean().item(), 3),
            "different": round(different.mean().item(), 3), "pairs of one person": len(same)}


if __name__ == "__main__":
    sys.exit(run_verb(main, sys.argv[1:]))
