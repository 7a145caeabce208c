"""How often a conditional run's samples show the class that was asked for: `python tools/asked_and_seen.py RUN --data
PATH`.

PATH is a labelled set from `scalegan prepare`, or embedded:mnist. A small convolutional network that has nothing to do
with the run is trained on four fifths of it and checked on the rest; then it classifies as many samples of every class.
Prints one JSON object: its accuracy on held-out images, the share of samples classified as asked, and the share by
class.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import scalegan
from scalegan.config import Data
from scalegan.data.preparing.embedded import folder_of, is_embedded, make_embedded
from scalegan.engines.ranks import join
from scalegan.games.sampling import one_batch_at_a_time
from scalegan.metrics.images import open_images
from scalegan.randomness import Draws


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--samples", type=int, default=200, help="of each class (default 200)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    generator = scalegan.load(options.run)
    images, labels = labelled(options.data, generator.about["spec"]["shape"][-1])
    held_out = torch.arange(len(images)) % 5 == 4
    classifier = trained(images[~held_out], labels[~held_out])
    asked = torch.arange(int(labels.max()) + 1).repeat_interleave(options.samples)
    with torch.no_grad():
        samples = one_batch_at_a_time(generator, Draws(0, 0, "asked", torch.arange(len(asked))), asked, 1.0, 100)
    hits = predicted(classifier, samples) == asked
    print(json.dumps({"held_out_accuracy": accuracy(classifier, images[held_out], labels[held_out]),
                      "as_asked": round(hits.float().mean().item(), 4),
                      "by_class": hits.float().view(-1, options.samples).mean(1).tolist()}))
    return 0


def labelled(path: str, size: int) -> tuple[Tensor, Tensor]:
    """All images [N, C, size, size] in [-1, 1] of a set, and their classes [N], in a fixed random order."""
    if is_embedded(path):
        make_embedded(Data(path=path, resolution=size), join())
        path = str(folder_of(path, size))
    found = open_images(path)
    order = np.random.default_rng(0).permutation(len(found))
    pixels = np.stack([found.read(int(number)) for number in order])
    return torch.from_numpy(pixels).movedim(3, 1) / 127.5 - 1, torch.from_numpy(found.labels[order])


def trained(images: Tensor, labels: Tensor, updates: int = 1000) -> nn.Module:
    """A small convolutional classifier, with dropout and images moved by up to two pixels."""
    torch.manual_seed(0)
    features = (images.shape[-1] // 4) ** 2 * 32
    network = nn.Sequential(nn.Conv2d(images.shape[1], 16, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2),
                            nn.Conv2d(16, 32, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.5),
                            nn.Linear(features, 128), nn.ReLU(), nn.Linear(128, int(labels.max()) + 1))
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(updates):
        chosen = torch.randint(len(images), (64,))
        moved = torch.roll(images[chosen], torch.randint(-2, 3, (2,)).tolist(), (2, 3))
        optimizer.zero_grad()
        F.cross_entropy(network(moved), labels[chosen]).backward()
        optimizer.step()
    return network.eval()


@torch.no_grad()
def predicted(classifier: nn.Module, images: Tensor) -> Tensor:
    return torch.cat([classifier(part).argmax(1) for part in images.split(250)])


def accuracy(classifier: nn.Module, images: Tensor, labels: Tensor) -> float:
    return round((predicted(classifier, images) == labels).float().mean().item(), 4)


if __name__ == "__main__":
    sys.exit(main())
