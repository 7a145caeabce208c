"""Measures how well labels can be predicted from the features of a run's discriminator, or of its encoder.

As in section 5.1 of Radford et al. (2016): the outputs of all convolutional layers, max-pooled to 4 x 4, and linear
L2-SVMs on them; of runs on volumes, all but the first, max-pooled to 2 x 2 x 2 (Wu et al., 2016). A run with an
encoder (BiGAN, ALI, AAE, AVB) is probed by that, any other by D. Prints one JSON object: the accuracy over classes, or
the Hamming loss over attributes and the accuracy of each; and under `baselines` the same for always guessing the most
frequent label (majority), SVMs on pixels, SVMs on the features of the network as it was before training (untrained),
and with --baseline cnn a convolutional classifier of D's size, trained on the same labels.
"""

import argparse
import json
import sys
from pathlib import Path

from scalegan.support.arguments import file_named, positive, verb_parser


def main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)

    from scalegan.probing.probe import line, probe
    from scalegan.support.files import write_whole

    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)   # what cannot be written is known before minutes of work
    result = probe(options.run, options.data, options.test, options.labels, options.baseline == "cnn")
    print(line(result), file=sys.stderr, flush=True)
    text = json.dumps(result, indent=1, ensure_ascii=False)
    if options.out is None:
        print(text, flush=True)
    else:
        write_whole(options.out, text + "\n")
        print(options.out.resolve())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = verb_parser("probe", __doc__,
                         "probe runs/digits --data embedded:mnist --labels 100",
                         "probe runs/cifar --data data/cifar10_32 --test data/cifar10_32_test --baseline cnn",
                         "probe runs/faces --data data/celeba_64 --out probe.json")
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder or checkpoint, or an export with an encoder")
    parser.add_argument("--data", required=True, metavar="PATH", help="labelled images of the run's resolution: "
                        "shards, a folder, a zip or an embedded set")
    parser.add_argument("--test", metavar="PATH", help="images to test on (default: a fifth of --data, held out)")
    parser.add_argument("--labels", type=positive, metavar="N", help="learn from N labelled images only, as many of "
                        "each class (default: from all)")
    parser.add_argument("--baseline", choices=("cnn",), help="also train a classifier of the same size")
    parser.add_argument("--out", type=file_named("--out", ".json"), metavar="FILE.json",
                        help="write the JSON object to a file")
    return parser
