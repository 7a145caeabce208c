"""Generates images from a run, a checkpoint or an export: a grid and single PNGs.

Seed n gives the same image whatever else is generated. If the model has classes and --classes is not given, column i of
the grid shows class i.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from scalegan.errors import UserError
from scalegan.support.arguments import seeds, verb_parser

if TYPE_CHECKING:
    from scalegan.data.spec import Spec


def main(arguments: list[str]) -> int:
    parser = verb_parser("sample", __doc__,
                         "sample runs/digits --seeds 0-63 --out pictures",
                         "sample digits.safetensors --classes 3,7 --columns 8")
    parser.add_argument("run", type=Path, help="run folder, checkpoint, or exported .safetensors")
    parser.add_argument("--seeds", type=seeds, default=seeds("0-63"), help="such as 0-63 or 1,5,9 (default 0-63)")
    parser.add_argument("--psi", type=float, default=1.0, help="truncation, if the model supports it (default 1: none)")
    parser.add_argument("--classes", type=seeds, help="class indices, repeated over the seeds")
    parser.add_argument("--columns", type=int, help="grid columns (default 8, or the number of classes up to 10)")
    parser.add_argument("--standing-statistics", type=int, default=0, metavar="N",
                        help="re-estimate BatchNorm's averages over N batches of 64 (default 0: the running "
                             "statistics; `scalegan evaluate` uses 16)")
    parser.add_argument("--out", type=Path, default=Path("samples"), help="folder to write into")
    parser.add_argument("--network", metavar="NAME", help="one of the game's networks, if several generate samples")
    parser.add_argument("--ema", metavar="NAME", help="one of the run's extra averages (recipe key emas)")
    options = parser.parse_args(arguments)

    from rich.progress import track

    from scalegan.checkpoints.exports import load_generator, sample
    from scalegan.data.spec import Spec
    from scalegan.pictures import grids

    generator = load_generator(options.run, options.network, options.ema)
    spec = Spec.of(generator.about["spec"])
    classes = spec.num_classes
    columns = options.columns or (min(classes, 10) if classes else 8)
    labels = _labels(options, spec, columns)
    try:
        if options.standing_statistics > 0:
            from scalegan.metrics.standing_statistics import standing_statistics

            standing_statistics(generator, options.standing_statistics, psi=options.psi)
        images = sample(generator, options.seeds, labels, options.psi)
    except ValueError as error:
        raise UserError(str(error)) from error
    options.out.mkdir(parents=True, exist_ok=True)
    if images.dim() != 4:
        raise UserError(f"{options.run} makes 2-D points, not images; see the pictures in the run's samples/")
    for seed, image in track(list(zip(options.seeds, images)), "writing", disable=len(images) < 200):
        grids.save_image(options.out / f"seed{seed:06d}.png", image)
    grids.save_grid(options.out / "grid.png", images, columns)
    print((options.out / "grid.png").resolve())
    return 0


def _labels(options: argparse.Namespace, spec: "Spec", columns: int):
    import torch

    count = len(options.seeds)
    if not spec.num_classes:
        if options.classes:
            raise UserError(f"{options.run} is unconditional; leave out --classes")
        return None
    if spec.multilabel:
        chosen = torch.zeros(count, spec.num_classes)
        chosen[:, options.classes or []] = 1
        return chosen
    classes = options.classes or list(range(min(spec.num_classes, columns)))
    return torch.tensor([classes[i % len(classes)] for i in range(count)])
