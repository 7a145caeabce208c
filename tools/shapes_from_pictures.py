"""How well a run of 3D-VAE-GAN makes shapes from pictures: `python tools/shapes_from_pictures.py RUN --data PATH --test
PATH`.

PATHs are labelled volumes from `scalegan prepare`, or embedded: those of --test are rebuilt from their pictures. Prints
one JSON object: the mean intersection over union with the true shape of

rebuilt     what the run makes of the picture
nearest     the shape of --data whose picture is most like it (squared difference)
mean        the voxels that are filled in at least as many shapes of --data as serves best, the same for all
random      another shape of --test
"""

import argparse
import json
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import torch
from torch import Tensor

from scalegan.checkpoints import exports
from scalegan.cli import run_verb
from scalegan.data.rendering import FILLED, rendered
from scalegan.data.spec import Spec
from scalegan.probing.labelled import open_labelled
from tools.asked_and_seen import rounded

_VIEW = "corner"
_AT_ONCE = 50


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("--data", required=True)
    parser.add_argument("--test", required=True)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    network = exports.load(options.run, "rebuild")
    spec = Spec.of(network.about["spec"])
    known, tested = ((open_labelled(path, spec, option).read(f"shapes of {path}") / 255)
                     for path, option in ((options.data, "--data"), (options.test, "--test")))
    seen, asked = pictures(known), pictures(tested)
    with torch.inference_mode():
        made = torch.cat([network(part) for part in asked.split(_AT_ONCE)])
    apart = torch.cdist(asked.flatten(1), seen.flatten(1))
    frequent = known.mean(0, keepdim=True)
    means = [(frequent > share / 20).expand_as(tested) for share in range(1, 20)]
    print(json.dumps({"shapes": len(tested), "rebuilt": iou(made > FILLED, tested),
                      "nearest": iou(known[apart.argmin(1)] > FILLED, tested),
                      "mean": max(iou(one, tested) for one in means),
                      "random": iou(tested.roll(1, 0) > FILLED, tested)}, indent=1))
    return 0


def pictures(volumes: Tensor) -> Tensor:
    return torch.cat([rendered(part, _VIEW) for part in volumes.split(_AT_ONCE)])


def iou(made: Tensor, true: Tensor) -> float:
    """The mean intersection over union of shapes, bool [n, 1, D, H, W], with volumes in [0, 1]."""
    one, other = made.flatten(1), (true > FILLED).flatten(1)
    return rounded(((one & other).sum(1) / (one | other).sum(1).clamp(min=1)).mean())


if __name__ == "__main__":
    sys.exit(run_verb(main, sys.argv[1:]))
