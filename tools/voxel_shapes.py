"""What the samples of a run on volumes are like: `python tools/voxel_shapes.py RUN --data PATH --test PATH`.

PATHs are labelled volumes from `scalegan prepare`, or embedded: those of --data are compared with, those of --test show
what real shapes reach. Prints one JSON object; by `samples` and `test`, shares of the shapes:

one_body    all filled voxels hang together, by their faces
filled      of the voxels
iou         intersection over union with the most similar shape of --data, a mean over shapes
recognised  the five most similar shapes of --data are of one class
classes     by most of these five, how many shapes are of each class
right       (of --test) that class is their own
confident   a logistic regression on the voxels, trained on --data alone, gives a class more than 0.9
probe       how many shapes it takes to be of each class
probe_right (of --test) that class is their own
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from scalegan.checkpoints import exports
from scalegan.cli import run_verb
from scalegan.data import voxels
from scalegan.data.rendering import FILLED
from scalegan.data.spec import Spec
from scalegan.probing.labelled import open_labelled
from tools.asked_and_seen import rounded

_NEIGHBOURS = 5
_CONFIDENT = 0.9


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("--data", required=True)
    parser.add_argument("--test", required=True)
    parser.add_argument("--num-samples", type=int, default=500, help="(default 500)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    generator = exports.load_generator(options.run)
    spec = Spec.of(generator.about["spec"])
    known, tested = (open_labelled(path, spec, option)
                     for path, option in ((options.data, "--data"), (options.test, "--test")))
    shapes = (known.read("shapes to compare with") > 127)[:, 0]
    made = (exports.sample(generator, list(range(options.num_samples)), None, 1.0) > FILLED)[:, 0]
    samples, _ = figures(made, shapes, known.labels, known.names)
    real, seen = figures((tested.read("test shapes") > 127)[:, 0], shapes, known.labels, known.names)
    real["right"] = rounded((seen == tested.labels).float().mean())
    for one, answers in zip((samples, real), probed(shapes, known.labels, [made, tested.read("test shapes") > 127])):
        chances = answers.max(1)
        one["confident"] = rounded(torch.from_numpy(chances > _CONFIDENT).float().mean())
        numbers = answers.argmax(1)
        one["probe"] = dict(zip(known.names, np.bincount(numbers, minlength=len(known.names)).tolist()))
    real["probe_right"] = rounded((torch.from_numpy(numbers) == tested.labels).float().mean())
    print(json.dumps({"num_samples": options.num_samples, "samples": samples, "test": real}, indent=1))
    return 0


def probed(known: Tensor, labels: Tensor, others: list[Tensor]) -> list[np.ndarray]:
    """The probabilities of classes [n, K] of each of several sets of shapes, by a regression that knows one."""
    model = LogisticRegression(C=0.01, max_iter=300).fit(known.flatten(1).numpy(), labels.numpy())
    return [model.predict_proba(shapes.flatten(1).numpy()) for shapes in others]


def figures(made: Tensor, known: Tensor, labels: Tensor, names: tuple[str, ...]) -> tuple[dict[str, Any], Tensor]:
    """The figures of shapes, bool [n, D, H, W], and their classes [n] by known shapes, bool [N, D, H, W]."""
    iou = similarity(made, known)
    near = iou.topk(_NEIGHBOURS, 1).indices
    votes = torch.nn.functional.one_hot(labels[near], len(names)).sum(1)
    classes = votes.argmax(1)
    return {"one_body": rounded(torch.from_numpy(voxels.bodies(made.numpy()) == 1).float().mean()),
            "filled": rounded(made.float().mean()), "iou": rounded(iou.amax(1).mean()),
            "recognised": rounded((votes.amax(1) == _NEIGHBOURS).float().mean()),
            "classes": dict(zip(names, np.bincount(classes.numpy(), minlength=len(names)).tolist()))}, classes


def similarity(made: Tensor, known: Tensor) -> Tensor:
    """Intersection over union of each of [n, D, H, W] with each of [N, D, H, W]: [n, N], 0 where both are empty."""
    one, other = made.flatten(1).float(), known.flatten(1).float()
    common = one @ other.T
    return common / (one.sum(1)[:, None] + other.sum(1) - common).clamp(min=1)


if __name__ == "__main__":
    sys.exit(run_verb(main, sys.argv[1:]))
