"""What a coupled GAN learnt about its two domains: `python tools/coupled_domains.py RUN [--data PATH]`.

Where the second domain is made from the first (`game.second=edges`), prints how well pairs agree: the correlation, over
all pixels of 1,000 samples, of what G1's image gives with G2's image of the same z; and of another z.

Where the run adapts (`game.adaptation=true`), prints the shares of PATH, a labelled set of the second domain, that are
classified rightly: by the run's classifier C2, by C1, and by the same network trained on the first domain's classes
alone, with as many batches. PATH is from `scalegan prepare`, or embedded:digits_test, the default.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import scalegan
from scalegan.config import loading
from scalegan.data.derived import DOMAINS
from scalegan.games.cogan.networks import Classifier, DiscriminatorStem, SharedDiscriminator
from scalegan.games.sampling import generate
from scalegan.randomness import Draws
from tools.asked_and_seen import accuracy, labelled

SAMPLES = 1000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("--data", default="embedded:digits_test")
    options = parser.parse_args()
    torch.set_num_threads(1)
    recipe, found = loading.load([f"recipe={options.run / 'config.yaml'}"]), {}
    if recipe.game.second in DOMAINS:
        found |= agreement(options.run, recipe.game.second)
    if recipe.game.adaptation:
        size, images = recipe.data.resolution, scalegan.load(options.run).about["images"]
        first, second = labelled(recipe.data.path, size), labelled(options.data, size)
        alone = trained(*first, images // recipe.batch_size, recipe.batch_size, recipe.optimizer["D_shared"])
        classifiers = {name: scalegan.load(options.run, name) for name in ("C2", "C1")} | {"first_alone": alone}
        found |= {name: accuracy(network, *second) for name, network in classifiers.items()}
    print(json.dumps(found))
    return 0


@torch.no_grad()
def agreement(run: Path, second: str) -> dict[str, float]:
    """Correlations of the second domain's images with what the first's give, for one z and for two."""
    draws = Draws(0, 0, "agreement", torch.arange(SAMPLES))
    made, other = (torch.cat([generate(scalegan.load(run, name), draws[first : first + 100], None)
                              for first in range(0, SAMPLES, 100)]) for name in ("G1", "G2"))
    made = DOMAINS[second](made)
    return {"agreement": correlation(made, other), "agreement_of_others": correlation(made, other.roll(1, 0))}


def correlation(a: Tensor, b: Tensor) -> float:
    return round(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1].item(), 4)


def trained(images: Tensor, labels: Tensor, updates: int, batch: int, settings: object) -> nn.Module:
    """The discriminator's layers and classifier, trained on one domain alone."""
    torch.manual_seed(0)
    network = Classifier(DiscriminatorStem(images.shape[1]), SharedDiscriminator(int(labels.max()) + 1))
    optimizer = torch.optim.Adam(network.parameters(), settings.lr, settings.betas, weight_decay=settings.weight_decay)
    for _ in range(updates):
        chosen = torch.randint(len(images), (batch,))
        optimizer.zero_grad()
        F.cross_entropy(network(images[chosen]), labels[chosen]).backward()
        optimizer.step()
    return network.eval()


if __name__ == "__main__":
    sys.exit(main())
