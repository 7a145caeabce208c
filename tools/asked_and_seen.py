"""How often a conditional run's samples show what was asked for, and how much they differ: `python
tools/asked_and_seen.py RUN --data PATH`.

PATH is a set from `scalegan prepare` with classes or attributes, or embedded:mnist. A small convolutional network that
has nothing to do with the run is trained on four fifths of it and checked on the rest; then it classifies samples: of
classes, as many of each; of attributes, those of images of the set. Prints one JSON object:

    held_out    its accuracy on held-out images, a mean over classes or attributes: the share of images with the label
                that it finds; for attributes, the mean of that and of the share without it (0.5 if it guesses)
    as_asked    the same on samples, for the labels that were asked for
    by_label    the latter for each class or attribute
    agreement, base_rate    for attributes: the share of all attributes of samples that are as asked, and what it would
                be if samples always had the more frequent value of each
    spread      mean distance between two samples of a class, as a multiple of that between two images of it: 0 if all
                samples of a class are the same. For attributes, between any two.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np
import torch
from torch import Tensor, nn

import scalegan
from scalegan.cli import run_verb
from scalegan.config import Data
from scalegan.data.preparing.embedded import folder_of, is_embedded, make_embedded
from scalegan.engines.ranks import join
from scalegan.games.acgan.game import label_loss
from scalegan.games.sampling import one_batch_at_a_time
from scalegan.metrics.images import open_images
from scalegan.probing.changes import accuracies
from scalegan.randomness import Draws


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--samples", type=int, default=200, help="of each class; ten times as many of attributes "
                        "(default 200)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    generator = scalegan.load(options.run)
    images, labels, names = labelled(options.data, generator.about["spec"]["shape"][-1])
    held_out, attributes = torch.arange(len(images)) % 5 == 4, labels.dim() == 2
    classifier = trained(images[~held_out], labels[~held_out])
    asked = labels[: 10 * options.samples] if attributes else \
        torch.arange(int(labels.max()) + 1).repeat_interleave(options.samples)
    with torch.no_grad():
        samples = one_batch_at_a_time(generator, Draws(0, 0, "asked", torch.arange(len(asked))), asked, 1.0, 100)
    seen, truth = predicted(classifier, samples, attributes), labels[held_out]
    by_label = accuracies(seen, asked)
    found = {"held_out": accuracies(predicted(classifier, images[held_out], attributes), truth).nanmean(),
             "as_asked": by_label.nanmean()}
    if attributes:
        usual = (labels.float().mean(0) > 0.5).long()
        found |= {"agreement": (seen == asked).float().mean(), "base_rate": (usual == asked).float().mean()}
    found["spread"] = spread(samples, asked) / spread(images, labels)
    named = dict(zip(names or map(str, range(len(by_label))), map(rounded, by_label)))
    print(json.dumps({name: rounded(value) for name, value in found.items()} | {"by_label": named}))
    return 0


def spread(images: Tensor, labels: Tensor, most: int = 200) -> Tensor:
    """Mean distance between two images of a class, over classes; for attributes, between any two."""
    groups = [images[labels == one] for one in labels.unique()] if labels.dim() == 1 else [images]
    return torch.stack([torch.pdist(group[:most].flatten(1)).mean() for group in groups]).mean()


def rounded(value: Tensor) -> float:
    return round(float(value), 4)


def labelled(path: str, size: int) -> tuple[Tensor, Tensor, Sequence[str]]:
    """All images [N, C, size, size] in [-1, 1] of a set and their labels, in a fixed random order: classes [N], or
    attributes [N, K] of 0 and 1; and the names of these."""
    if is_embedded(path):
        make_embedded(Data(path=path, resolution=size), join())
        path = str(folder_of(path, size))
    found = open_images(path)
    if found.labels is None:
        sys.exit(f"{path} has no labels; prepare it with --labels class or attributes")
    order = np.random.default_rng(0).permutation(len(found))
    pixels = np.stack([found.read(int(number)) for number in order])
    return torch.from_numpy(pixels).movedim(3, 1) / 127.5 - 1, torch.from_numpy(found.labels[order]), found.classes


def trained(images: Tensor, labels: Tensor, updates: int = 1000) -> nn.Module:
    """A small convolutional classifier, with dropout and images moved by up to two pixels."""
    torch.manual_seed(0)
    outputs = labels.shape[1] if labels.dim() == 2 else int(labels.max()) + 1
    features = (images.shape[-1] // 4) ** 2 * 32
    network = nn.Sequential(nn.Conv2d(images.shape[1], 16, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2),
                            nn.Conv2d(16, 32, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.5),
                            nn.Linear(features, 128), nn.ReLU(), nn.Linear(128, outputs))
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(updates):
        chosen = torch.randint(len(images), (64,))
        moved = torch.roll(images[chosen], torch.randint(-2, 3, (2,)).tolist(), (2, 3))
        optimizer.zero_grad()
        label_loss(network(moved), labels[chosen]).backward()
        optimizer.step()
    return network.eval()


@torch.no_grad()
def predicted(classifier: nn.Module, images: Tensor, attributes: bool) -> Tensor:
    """Classes [N], or attributes [N, K] of 0 and 1."""
    logits = torch.cat([classifier(part) for part in images.split(250)])
    return (logits > 0).long() if attributes else logits.argmax(1)


if __name__ == "__main__":
    sys.exit(run_verb(main, sys.argv[1:]))
