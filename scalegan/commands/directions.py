"""Finds directions in the latents of a run, a checkpoint or an export, for `scalegan edit`: w of style-based
generators, z of others.

--data PATH finds one for each attribute or class of labelled images: the mean latent of those with it minus the mean of
those without (White, 2016). A run with an encoder (BiGAN, ALI, AAE, AVB) encodes the images; for others, a classifier
is trained on the images and says what generated samples show. --unsupervised needs no labels: `sefa` takes eigenvectors
of the weights by which latents enter (Shen & Zhou, 2021), `ganspace` principal components (Härkönen et al., 2020);
their names are 0, 1, 2, ..., the strongest first.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from scalegan.errors import UserError
from scalegan.support import devices
from scalegan.support.arguments import file_named, verb_parser, whole

if TYPE_CHECKING:
    from torch import Tensor

    from scalegan.latents.space import Space

_SAMPLES, _MOST_SAMPLES = 4096, 1_000_000     # points are held in memory


def main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)

    from scalegan.checkpoints.exports import load_generator
    from scalegan.latents import directions
    from scalegan.latents.space import Space, check_images

    generator = load_generator(options.run, options.network, options.ema)
    check_images(generator, options.run)
    space = Space(generator.to(devices.available()))
    points, labels = space.drawn(options.num_samples, "directions")
    find = _by_labels if options.data else _without_labels
    vectors, made_from = find(options, space, points, labels)
    found = directions.of(space, made_from, vectors, points)
    out = options.out or directions.default_path(options.run, options.unsupervised or "labels")
    found.save(out)
    print(f"directions in {space.name}, from {made_from}: {', '.join(vectors)}")
    print(out.resolve())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = verb_parser("directions", __doc__,
                         "directions runs/faces --data data/celeba_64",
                         "directions runs/faces --unsupervised sefa",
                         "directions faces.safetensors --unsupervised ganspace --out pca.safetensors")
    parser.add_argument("run", type=Path, help="run folder, checkpoint, or exported .safetensors")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--data", metavar="PATH", help="labelled images: shards, a folder or zip, or embedded:mnist; of "
                      "a larger set, 10,000 are taken")
    what.add_argument("--unsupervised", choices=("sefa", "ganspace"), help="without labels")
    parser.add_argument("--num-samples", type=whole(64, _MOST_SAMPLES), default=_SAMPLES, metavar="N",
                        help="samples to classify, or "
                        f"latents for ganspace (default {_SAMPLES})")
    parser.add_argument("--network", metavar="NAME", help="one of the game's networks, if several generate samples")
    parser.add_argument("--ema", metavar="NAME", help="one of the run's extra averages (recipe key emas)")
    parser.add_argument("--out", type=file_named("--out", ".safetensors"), help="file to write (default: "
                        "directions.safetensors in the run folder or beside the export, with -sefa or -ganspace)")
    return parser


def _by_labels(options: argparse.Namespace, space: "Space", points: "Tensor", labels: "Tensor | None",
               ) -> "tuple[dict[str, Tensor], str]":
    """Concept vectors by name, and what they are made from."""
    from scalegan.checkpoints.exports import load
    from scalegan.data.spec import Spec
    from scalegan.latents import concepts

    data = concepts.labelled_images(options.data, Spec.of(space.generator.about["spec"]))
    if encode := space.generator.about["networks"].get("encode"):
        encoder = load(options.run, "encode", options.ema if encode["averaged"] else None).to(space.device)
        points, shares = concepts.encoded(encoder, data, space.dim), data.shares
        made_from = f"{len(data.pixels):,} images of {options.data} through the encoder"
    else:
        shares = concepts.of_samples(space, points, labels, data)
        made_from = f"{len(points):,} samples, classified as the images of {options.data} are"
    vectors, left_out = concepts.concept_vectors(points, shares, data.names)
    if not vectors:
        raise UserError(f"{options.data}: no direction for {', '.join(left_out)}: {concepts.TOO_FEW}; use more images, "
                        "or raise --num-samples")
    if left_out:
        print(f"scalegan: warning: no direction for {', '.join(left_out)}: {concepts.TOO_FEW}", file=sys.stderr)
    return vectors, made_from


def _without_labels(options: argparse.Namespace, space: "Space", points: "Tensor", labels: "Tensor | None",
                    ) -> "tuple[dict[str, Tensor], str]":
    """Components by number, and what they are made from."""
    from scalegan.latents import unsupervised

    if options.unsupervised == "sefa":
        return unsupervised.sefa(space), "the generator's weights (SeFa)"
    return unsupervised.ganspace(space, points), f"{len(points):,} latents (GANSpace)"
