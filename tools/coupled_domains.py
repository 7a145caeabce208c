"""What a coupled GAN learnt about its two domains: `python tools/coupled_domains.py RUN [--data PATH]`.

Prints how well pairs agree: the correlation, over all pixels of 1,000 samples, of G2's images with G1's, of the same z
and of another; where the second domain is made from the first (`game.second=edges`), also with what that makes of G1's.

Where the run adapts (`game.adaptation=true`), prints the shares of PATH, a labelled set of the second domain, that are
classified rightly: by the run's classifier C2, by C1, and by the same network trained on the first domain's classes
alone, with as many batches. PATH is from `scalegan prepare`, or embedded:digits_test, the default.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from scalegan.cli import run_verb

if TYPE_CHECKING:
    from torch import Tensor, nn

    from scalegan.config import Recipe

SAMPLES = 1000


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("--data", default="embedded:digits_test")
    options = parser.parse_args(arguments)

    import torch

    from scalegan.config import loading

    torch.set_num_threads(1)
    recipe = loading.load([f"recipe={options.run / 'config.yaml'}"])
    found = {"agreement": agreement(options.run, recipe.game.second)}
    if recipe.game.adaptation:
        found["accuracy"] = accuracies(options.run, recipe, options.data)
    print(json.dumps(found))
    return 0


def agreement(run: Path, second: str) -> dict[str, dict[str, float]]:
    """Correlations of G2's images with G1's and with what the second domain makes of these, for the same z and for
    another."""
    import torch

    import scalegan
    from scalegan.data.derived import COUNTERPARTS
    from scalegan.games.sampling import one_batch_at_a_time
    from scalegan.randomness import Draws

    draws = Draws(0, 0, "agreement", torch.arange(SAMPLES))
    with torch.no_grad():
        first, other = (one_batch_at_a_time(scalegan.load(run, name), draws, None, 1.0, 100) for name in ("G1", "G2"))
        compared = {"images": first} | ({second: COUNTERPARTS[second](first)} if second in COUNTERPARTS else {})
    return {name: {which: round(torch.corrcoef(torch.stack([made.flatten(), one.flatten()]))[0, 1].item(), 4)
                   for which, one in (("same_z", other), ("other_z", other.roll(1, 0)))}
            for name, made in compared.items()}


def accuracies(run: Path, recipe: "Recipe", path: str) -> dict[str, float]:
    """Shares of a set that the run's classifiers, and one of the first domain alone, classify rightly."""
    import torch

    import scalegan
    from scalegan.games.cogan.networks import Classifier, DiscriminatorStem, SharedDiscriminator
    from tools.asked_and_seen import labelled

    size, classifiers = recipe.data.resolution, {name: scalegan.load(run, name) for name in ("C2", "C1")}
    images, labels, _ = labelled(recipe.data.path, size)
    torch.manual_seed(0)
    alone = Classifier(DiscriminatorStem(images.shape[1]), SharedDiscriminator(int(labels.max()) + 1))
    classifiers["first_alone"] = trained(alone, images, labels, classifiers["C2"].about["images"], recipe, "D_shared")
    images, labels, _ = labelled(path, size)
    return {name: accuracy(network, images, labels) for name, network in classifiers.items()}


def accuracy(network: "nn.Module", images: "Tensor", labels: "Tensor") -> float:
    """The share of images that a network classifies rightly."""
    from tools.asked_and_seen import predicted, rounded

    return rounded((predicted(network, images, False) == labels).float().mean())


def trained(network: "nn.Module", images: "Tensor", labels: "Tensor", shown: int, recipe: "Recipe",
            player: str) -> "nn.Module":
    """A classifier trained on one domain alone, with a player's batches and optimizer, until it has been shown so many
    images."""
    import torch
    from torch.nn.functional import cross_entropy

    keys = recipe.optimizer[player]
    optimizer = torch.optim.Adam(network.parameters(), keys.lr, keys.betas, weight_decay=keys.weight_decay)
    for _ in range(shown // recipe.batch_size):
        chosen = torch.randint(len(images), (recipe.batch_size,))
        optimizer.zero_grad()
        cross_entropy(network(images[chosen]), labels[chosen]).backward()
        optimizer.step()
    return network.eval()


if __name__ == "__main__":
    sys.exit(run_verb(main, sys.argv[1:]))
