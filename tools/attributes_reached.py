"""How often a StarGAN run gives held-out faces the attributes that it is asked for: `python tools/attributes_reached.py
RUN --data PATH --test PATH`.

Both are sets from `scalegan prepare` with attributes. The convolutional classifier of `scalegan probe --baseline cnn`,
which has nothing to do with the run, is trained on --data. Then every image of --test gets each attribute in turn: a
hair colour instead of its own, any other attribute inverted. Prints one JSON object:

    right       by attribute, the share of images of --test that the classifier labels rightly
    before      the share of images to be changed that it sees as the target already
    after       the same of their translations
    others      of the other attributes, the share that it sees as before; after a hair colour, without the others
    l1          mean absolute difference between an image and its translation, in levels of 255
"""

import argparse
import json
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import torch
from torch import Tensor, nn

import scalegan
from scalegan.cli import run_verb
from scalegan.data.pixels import from_levels, to_uint8
from scalegan.data.spec import Spec
from scalegan.games.stargan.labels import in_turn
from scalegan.probing.changes import changes
from scalegan.probing.classifier import Classifier, fit_cnn
from scalegan.probing.labelled import Labelled, open_labelled

_SHARES = ("before", "after", "others")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--test", required=True)
    parser.add_argument("--parameters", type=int, default=100_000, help="of the classifier (default 100,000)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    generator = scalegan.load(options.run)
    spec = Spec.of(generator.about["spec"])
    train, test = open_labelled(options.data, spec), open_labelled(options.test, spec, "--test")
    classifier = fit_cnn(train.read("images to learn from"), chosen(train, generator.names),
                         parameters=options.parameters)
    print(json.dumps(reached(generator, classifier, test.read("images to change"), chosen(test, generator.names))))
    return 0


def chosen(labelled: Labelled, names: tuple[str, ...]) -> Tensor:
    """The attributes of these names, [n, K]."""
    return labelled.labels[:, [labelled.names.index(name) for name in names]]


@torch.no_grad()
def reached(generator: nn.Module, classifier: Classifier, images: Tensor, labels: Tensor) -> dict[str, dict]:
    """Images uint8 [n, C, H, W] and their attributes [n, K] to the figures above."""
    names, before = generator.names, classifier.logits(images) > 0
    right = (before == labels.bool()).float().mean(0)
    found = {"right": dict(zip(names, map(rounded, right)))}
    for number, (name, targets) in enumerate(in_turn(labels.float(), names).items()):
        changing = targets[:, number] != labels[:, number]
        goals = torch.full_like(targets[changing], torch.nan)
        goals[:, number] = targets[changing, number]
        made = torch.cat([to_uint8(generator(from_levels(part), goal)) for part, goal in
                          zip(images[changing].split(100), targets[changing].split(100))])
        shares = changes(before[changing], classifier.logits(made) > 0, goals, names)
        found[name] = {"images": int(changing.sum()), **{key: rounded(shares[key]) for key in _SHARES},
                       "l1": rounded((made.float() - images[changing].float()).abs().mean())}
    return found


def rounded(value: Tensor) -> float:
    return round(value.item(), 4)


if __name__ == "__main__":
    sys.exit(run_verb(main, sys.argv[1:]))
