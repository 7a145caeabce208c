"""How well the features of a run's encoder (BiGAN, ALI) tell classes apart, beside pixels and the encoder untrained.

    python tools/encoder_features.py RUN

Prints the error in % of the nearest neighbour among all labelled images (Donahue et al., 2017, table 1), and of a
linear L2-SVM (C = 0.01 on standardised features) on 10 and on 100 labels a class (mean of five draws). A fifth of the
run's images are the test images; the encoder has seen them, but no label. BatchNorm statistics are those of all images,
for both encoders.
"""

import argparse
import sys
import warnings
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from torch import Tensor, nn

import scalegan
from scalegan.cli import run_verb
from scalegan.config import loading
from scalegan.data.pixels import from_levels
from scalegan.data.spec import Spec
from scalegan.models.layers.tracked import tracked_modules
from scalegan.training import build

DRAWS, PER_CLASS, AT_ONCE, C = 5, (10, 100), 500, 0.01


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN")
    run = parser.parse_args(arguments).run
    trained = scalegan.load(run, "encode")
    recipe = loading.load([f"recipe={run / 'config.yaml'}"])
    untrained = build.game(recipe, {name: Spec.of(spec) for name, spec in trained.about["specs"].items()}).E
    images = build.evaluation_images(recipe)
    labels = images.classes_of(np.arange(len(images)))
    if labels is None:
        sys.exit(f"{recipe.data.path} has no classes; prepare it with --labels class")
    pixels = torch.cat([from_levels(torch.from_numpy(images.read(number).copy()).permute(2, 0, 1)[None])
                        for number in range(len(images))])
    print("| features | nearest neighbour | " + " | ".join(f"SVM, {count} a class" for count in PER_CLASS) + " |")
    for name, features in {"pixels": pixels.flatten(1), "E, untrained": of_encoder(untrained, pixels, False),
                           "E, last hidden layer": of_encoder(trained, pixels, False),
                           "E(x)": of_encoder(trained, pixels, True)}.items():
        print(f"| {name} | " + " | ".join(f"{error:.1f}" for error in errors(features.numpy(), labels)) + " |")
    return 0


@torch.no_grad()
def of_encoder(encoder: nn.Module, images: Tensor, codes: bool) -> Tensor:
    """Features [N, features] of the last hidden layer, or codes [N, latent_dim]."""
    norms = list(tracked_modules(encoder))
    encoder.eval()
    for norm in norms:      # one layer after the other, as each changes the next one's input
        norm.train()
        norm.norm_group = "batch"
        for part in images.split(AT_ONCE):
            encoder(part)
        for name, mean in norm.drain().items():
            getattr(norm, f"running_{name}").copy_(mean)
        norm.eval()
    return torch.cat([encoder(part) if codes else encoder.features(part).flatten(1) for part in images.split(AT_ONCE)])


def errors(features: np.ndarray, labels: np.ndarray) -> list[float]:
    """Errors in % on the test images, of the nearest neighbour and of SVMs on few labels."""
    order = np.random.default_rng(0).permutation(len(labels))
    test, rest = np.split(order, [len(labels) // 5])
    nearest = KNeighborsClassifier(1).fit(features[rest], labels[rest])
    found = [nearest.score(features[test], labels[test])]
    for count in PER_CLASS:
        scores = []
        for draw in range(DRAWS):
            shuffled = np.random.default_rng(draw).permutation(rest)
            chosen = np.concatenate([shuffled[labels[shuffled] == one][:count] for one in np.unique(labels)])
            svm = make_pipeline(StandardScaler(), LinearSVC(C=C))
            scores.append(svm.fit(features[chosen], labels[chosen]).score(features[test], labels[test]))
        found.append(float(np.mean(scores)))
    return [100 * (1 - score) for score in found]


if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=ConvergenceWarning)
    sys.exit(run_verb(main, sys.argv[1:]))
