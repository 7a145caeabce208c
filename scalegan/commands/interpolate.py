"""Interpolates between samples of a run, a checkpoint or an export: as a strip (.png) with one row per pair of
neighbouring seeds, or as a looping animation (.gif).

Seeds are those of `scalegan sample`. Style-based generators are interpolated along straight lines in w, others along
great circles in z (Shoemake, 1985; White, 2016), or straight lines if z is uniform.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from scalegan.errors import UserError
from scalegan.support.arguments import seeds, verb_parser

if TYPE_CHECKING:
    from torch import Tensor, nn

_FRAME_SECONDS = 0.05


def main(arguments: list[str]) -> int:
    parser = verb_parser("interpolate", __doc__,
                         "interpolate runs/digits --seeds 0-3 --out walk.gif",
                         "interpolate faces.safetensors --seeds 5,9 --steps 12 --out strip.png")
    parser.add_argument("run", type=Path, help="run folder, checkpoint, or exported .safetensors")
    parser.add_argument("--seeds", type=seeds, default=[0, 1, 2], help="two or more, such as 0,1,2 (the default)")
    parser.add_argument("--steps", type=int, default=8, help="steps from one seed to the next (default 8)")
    parser.add_argument("--psi", type=float, default=1.0, help="truncation, if the model supports it")
    parser.add_argument("--class", type=int, dest="label", metavar="N", help="class, or attribute, of every image")
    parser.add_argument("--network", metavar="NAME", help="one of the game's networks, if several generate samples")
    parser.add_argument("--ema", metavar="NAME", help="one of the run's extra averages (recipe key emas)")
    parser.add_argument("--out", type=Path, default=Path("interpolation.png"), help="FILE.png or FILE.gif")
    options = parser.parse_args(arguments)
    if options.out.suffix not in (".png", ".gif"):
        raise UserError(f"--out {options.out}: use .png for a strip or .gif for an animation")
    if len(options.seeds) < 2 or options.steps < 1:
        raise UserError("interpolation needs at least two seeds and one step; use --seeds 0,1 --steps 8")

    from scalegan.checkpoints.exports import load_generator
    from scalegan.pictures import grids
    from scalegan.pictures.interpolation import walk

    generator = load_generator(options.run, options.network, options.ema)
    if generator.about["spec"]["kind"] == "points":
        raise UserError(f"{options.run} makes 2-D points, not images")
    label = _label(generator, options)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    try:
        if options.out.suffix == ".png":
            grids.save_grid(options.out, walk(generator, options.seeds, options.steps, label, options.psi),
                               options.steps + 1)
        else:
            frames = walk(generator, [*options.seeds, options.seeds[0]], options.steps, label, options.psi)
            # A leg's last frame is the first of the next one.
            kept = [i for i in range(len(frames)) if i % (options.steps + 1) != options.steps]
            grids.save_animation(options.out, frames[kept], _FRAME_SECONDS)
    except ValueError as error:
        raise UserError(str(error)) from error
    print(options.out.resolve())
    return 0


def _label(generator: "nn.Module", options: argparse.Namespace) -> "Tensor | None":
    """The label of every image, in the form that the generator takes."""
    import torch

    from scalegan.data.spec import Spec

    spec = Spec.of(generator.about["spec"])
    if not spec.num_classes:
        if options.label is not None:
            raise UserError(f"{options.run} is unconditional; leave out --class")
        return None
    if options.label is not None and not 0 <= options.label < spec.num_classes:
        raise UserError(f"--class {options.label}: the classes of {options.run} are 0 to {spec.num_classes - 1}")
    if not spec.multilabel:
        return torch.tensor([options.label or 0])
    chosen = torch.zeros(1, spec.num_classes)
    chosen[:, [] if options.label is None else [options.label]] = 1
    return chosen
