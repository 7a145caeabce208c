"""What a game learnt that makes simulated images look real: `python tools/simulated_to_real.py RUN`.

Prints one JSON object. For a run of SimGAN:

    accuracy    on --test, of three classifiers of the same size, trained on the simulated images, on these refined, and
                on --real, each with its labels
    labels      the shares of simulated and of refined images in which the classifier of real images sees their labels:
                how many refinement keeps
    l1          mean absolute difference between a simulated image, in [-1, 1], and its refinement
    d_accuracy  the share of patches of test images and of refined ones that D takes for what they are

For a run of pixel-level domain adaptation: accuracy on --test of its classifier T, and of the same network trained on
the source alone, on as many images.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import torch
from torch import Tensor, nn

import scalegan
from scalegan.checkpoints.exports import load_player
from scalegan.cli import run_verb
from scalegan.config import loading
from scalegan.data.pixels import to_uint8
from scalegan.games.pixelda.networks import Classifier as Task
from scalegan.probing.classifier import Classifier, fit_cnn
from tools.asked_and_seen import labelled, rounded
from tools.coupled_domains import accuracy, trained

_PARAMETERS = 100_000       # of each classifier


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("--simulated", help="labelled (default: the run's data.path)")
    parser.add_argument("--real", default="embedded:mnist_train", help="labelled (default %(default)s)")
    parser.add_argument("--test", default="embedded:mnist_test", help="others, labelled (default %(default)s)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    recipe = loading.load([f"recipe={options.run / 'config.yaml'}"])
    simulated, real, test = (labelled(path, recipe.data.resolution)[:2] for path in
                             (options.simulated or recipe.data.path, options.real, options.test))
    if recipe.game.name == "pixelda":
        task = scalegan.load(options.run, "T")
        alone = trained(Task(tuple(simulated[0].shape[1:]), int(simulated[1].max()) + 1), *simulated,
                        task.about["images"], recipe, "T")
        found = {"accuracy": {"T": accuracy(task, *test), "source_alone": accuracy(alone, *test)}}
    else:
        found = of_refiner(options.run, simulated, real, test)
    print(json.dumps(found))
    return 0


@torch.no_grad()
def applied(network: nn.Module, images: Tensor) -> Tensor:
    return torch.cat([network(part) for part in images.split(250)])


def of_refiner(run: Path, simulated: tuple[Tensor, Tensor], real: tuple[Tensor, Tensor],
               test: tuple[Tensor, Tensor]) -> dict[str, object]:
    images, labels = simulated
    refined, discriminator = applied(scalegan.load(run), images), load_player(run, "D")
    sets = {"simulated": simulated, "refined": (refined, labels), "real": real}
    classifiers = {name: fit_cnn(to_uint8(shown), classes, parameters=_PARAMETERS)
                   for name, (shown, classes) in sets.items()}
    right = (applied(discriminator, test[0]) > 0).float().mean() + (applied(discriminator, refined) < 0).float().mean()
    return {"accuracy": {name: share(one, *test) for name, one in classifiers.items()},
            "labels": {name: share(classifiers["real"], sets[name][0], labels) for name in ("simulated", "refined")},
            "l1": rounded((refined - images).abs().mean()), "d_accuracy": rounded(right / 2)}


def share(classifier: Classifier, images: Tensor, labels: Tensor) -> float:
    """Of the images, how many a classifier sees rightly."""
    return rounded((classifier.logits(to_uint8(images)).argmax(1) == labels).float().mean())


if __name__ == "__main__":
    sys.exit(run_verb(main, sys.argv[1:]))
