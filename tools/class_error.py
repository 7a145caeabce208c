"""How often a classifier that a game exports is wrong: `python tools/class_error.py RUN --data PATH`.

PATH is a labelled set from `scalegan prepare`, or an embedded one, such as embedded:mnist_test, that the run has not
seen. Networks: `classify` of semi-supervised games, `C` of AC-GAN, `Q` of InfoGAN. Q's categories have no names: with
`--matched`, they are matched with the classes one to one so that the error is smallest (the Hungarian method). There
must be as many as classes, in Q's first outputs. Prints one JSON object with the error, a share of all images.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

import scalegan
from scalegan.cli import run_verb
from tools.asked_and_seen import labelled, rounded


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("--data", required=True)
    parser.add_argument("--network", default="classify", help="(default classify)")
    parser.add_argument("--matched", action="store_true", help="match categories with classes")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    network = scalegan.load(options.run, options.network)
    images, labels, _ = labelled(options.data, network.about["spec"]["shape"][-1])
    classes = int(labels.max()) + 1
    with torch.no_grad():
        seen = torch.cat([network(part)[:, :classes].argmax(1) for part in images.split(250)])
    found = {"images": len(images)}
    if options.matched:
        match = matched(seen, labels, classes)
        seen, found["class_of_category"] = match[seen], match.tolist()
    print(json.dumps({"error": rounded((seen != labels).float().mean()), **found}))
    return 0


def matched(categories: Tensor, labels: Tensor, classes: int) -> Tensor:
    """The class that stands for each category, [classes], so that as many of the labels [N] as possible are right."""
    counts = torch.zeros(classes, classes).index_put_((categories, labels), torch.ones(()), accumulate=True)
    return torch.from_numpy(linear_sum_assignment(counts.numpy(), maximize=True)[1])


if __name__ == "__main__":
    sys.exit(run_verb(main, sys.argv[1:]))
