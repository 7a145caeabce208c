"""Interpolates between samples of a run, a checkpoint or an export: as a strip (.png) with one row per pair of
neighbouring seeds, or as a looping animation (.gif) or video (.mp4, extra 'video').

--truncation draws the samples of the seeds (rows) at several truncations (columns) instead, and --mix the mixtures of
their coarse styles, at 4 and 8 px (rows), with the finer styles of other seeds (columns).

Seeds are those of `scalegan sample`. Style-based generators are interpolated along straight lines in w; others in z,
along great circles where z is normally distributed (Shoemake, 1985; White, 2016), along straight lines where it is not.
"""

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from scalegan.commands import stored_latents, texts
from scalegan.errors import UsageError
from scalegan.support import devices
from scalegan.support.arguments import file_named, finite, label_numbers, numbers, seeds, verb_parser, whole
from scalegan.support.resolution import of_sides

if TYPE_CHECKING:
    from torch import Tensor, nn

    from scalegan.latents.latent_files import Latents
    from scalegan.latents.space import Space

_FRAME_SECONDS = 0.05
_STEPS = 8
_MOST_PIXELS = 500_000_000     # of a picture or an animation that is made in memory


def main(arguments: list[str]) -> int:
    parser = verb_parser("interpolate", __doc__,
                         "interpolate runs/digits --seeds 0-3 --out walk.gif",
                         "interpolate runs/digits --seeds 0-3 --steps 40 --out walk.mp4",
                         "interpolate faces.safetensors --seeds 5,9 --steps 12 --out strip.png",
                         "interpolate runs/faces --seeds 0-3 --truncation 0,0.5,1 --out truncation.png",
                         "interpolate runs/faces --seeds 0-3 --mix 4-9 --out mixed.png")
    parser.add_argument("run", type=Path, help="run folder, checkpoint, or exported .safetensors")
    parser.add_argument("--seeds", type=seeds, help="two or more, such as 0,1,2 (the default)")
    texts.add_argument(parser)
    stored_latents.add_argument(parser)
    parser.add_argument("--steps", type=whole(0, 10_000), help=f"steps from one seed to the next (default {_STEPS})")
    parser.add_argument("--psi", type=finite, default=1.0, help="truncation, if the model supports it")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--truncation", type=numbers, metavar="PSI,...", help="instead of interpolating, a column for "
                         "each of these truncations and a row for each seed")
    instead.add_argument("--mix", type=seeds, metavar="SEEDS", help="instead of interpolating, a column for each of "
                         "these seeds, whose finer styles are mixed with the coarse ones of --seeds (style-based "
                         "generators)")
    parser.add_argument("--class", dest="label", metavar="NAME_OR_NUMBER",
                        help="class, or attribute, of every image")
    parser.add_argument("--network", metavar="NAME", help="one of the game's networks, if several generate samples")
    parser.add_argument("--ema", metavar="NAME", help="one of the run's extra averages (recipe key emas)")
    parser.add_argument("--out", type=file_named("--out", ".png for a strip", ".gif for an animation",
                        ".mp4 for a video"), default=Path("interpolation.png"), help="FILE.png, FILE.gif or FILE.mp4")
    options = parser.parse_args(arguments)
    stored_latents.check_alone(options, "seeds", "label", "psi", "text")
    if options.truncation or options.mix:
        if options.latents:
            raise UsageError("--truncation and --mix take --seeds; leave out --latents")
        if options.steps is not None:
            raise UsageError("--truncation and --mix take no steps from seed to seed; leave out --steps")
        return _grid(options)
    options.steps = _STEPS if options.steps is None else options.steps
    if (options.seeds and len(options.seeds) < 2) or options.steps < 1:
        raise UsageError("interpolation needs at least two seeds and one step; use --seeds 0,1 --steps 8")

    from scalegan.checkpoints.exports import load_generator
    from scalegan.latents.interpolation import between
    from scalegan.latents.space import check_images
    from scalegan.pictures import grids

    generator = load_generator(options.run, options.network, options.ema, options.psi)
    check_images(generator, options.run)
    generator.to(devices.available())
    options.out.parent.mkdir(parents=True, exist_ok=True)
    try:
        if not options.latents:
            _check_fits(len(_seeds(options)), options.steps, generator)
        space, ends = stored_latents.read(options, generator) if options.latents else _of_seeds(generator, options)
        if len(ends) < 2:
            raise UsageError("interpolation needs at least two latents; name a file with several, or several files")
        _check_fits(len(ends), options.steps, generator)
        if options.out.suffix.lower() == ".png":
            grids.save_grid(options.out, between(space, ends, options.steps), options.steps + 1)
        else:
            frames = between(space, ends.closed(), options.steps)
            # A leg's last frame is the first of the next one.
            kept = [i for i in range(len(frames)) if i % (options.steps + 1) != options.steps]
            grids.save_animation(options.out, frames[kept], _FRAME_SECONDS)
    except ValueError as error:
        raise UsageError(str(error)) from error
    print(options.out.resolve())
    return 0


def _check_fits(ends: int, steps: int, generator: "nn.Module") -> None:
    """Raises UsageError if an interpolation between so many ends has too many pixels for one file."""
    images, sides = ends * (steps + 1), generator.about["spec"]["shape"][-2:]
    if images * math.prod(sides) > _MOST_PIXELS:
        raise UsageError(f"--seeds and --steps ask for {images:,} images of {of_sides(*sides)} px in one file; "
                         f"at most {_MOST_PIXELS // math.prod(sides):,} fit")


def _of_seeds(generator: "nn.Module", options: argparse.Namespace) -> "tuple[Space, Latents]":
    """The latents of the seeds, all with the label that the user names."""
    from scalegan.latents.latent_files import Latents
    from scalegan.latents.space import Space

    space, label, seeds = Space(generator, options.psi), _label(generator, options), _seeds(options)
    labels = None if label is None else label.expand(len(seeds), *label.shape[1:])      # texts have a label for each
    return space, Latents(space.of_seeds(seeds, labels), labels)


def _seeds(options: argparse.Namespace) -> list[int]:
    return options.seeds or [0, 1, 2]


def _grid(options: argparse.Namespace) -> int:
    """Draws a grid of truncations or of mixed styles."""
    import torch

    from scalegan.checkpoints.exports import load_generator, sample
    from scalegan.latents.mixing import mixed
    from scalegan.latents.space import check_images
    from scalegan.pictures import grids

    option, columns = ("--truncation", len(options.truncation)) if options.truncation else ("--mix", len(options.mix))
    if options.out.suffix.lower() != ".png":
        raise UsageError(f"{option} makes a picture; name a .png with --out")
    if options.truncation and options.psi != 1:
        raise UsageError("--truncation has values of its own; leave out --psi")

    def loaded(psi: float) -> "nn.Module":
        """The generator; where it has BatchNorm, its statistics depend on psi."""
        generator = load_generator(options.run, options.network, options.ema, psi)
        check_images(generator, options.run)
        height, width = generator.about["spec"]["shape"][1:]
        if len(_seeds(options)) * columns * height * width > grids.MOST_PIXELS:
            raise UsageError(f"{len(_seeds(options)):,} rows and {columns:,} columns of images of {width} x {height} "
                             f"px are too many for one picture; take fewer --seeds or {option}")
        return generator.to(devices.available())

    try:
        if options.mix:
            generator = loaded(options.psi)
            images = mixed(generator, _seeds(options), options.mix, _label(generator, options), options.psi)
        else:
            columns_made = []
            for psi in options.truncation:
                generator, label = loaded(psi), None
                if (one := _label(generator, options)) is not None:
                    label = one.expand(len(_seeds(options)), *one.shape[1:])
                columns_made.append(sample(generator, _seeds(options), label, psi).cpu())
            images = torch.stack(columns_made, 1)
    except ValueError as error:
        raise UsageError(f"{options.run}: {error}") from error
    options.out.parent.mkdir(parents=True, exist_ok=True)
    grids.save_grid(options.out, images.flatten(0, 1), images.shape[1])
    print(options.out.resolve())
    return 0


def _label(generator: "nn.Module", options: argparse.Namespace) -> "Tensor | None":
    """The label of every image, in the form that the generator takes; or the text of each seed."""
    import torch

    from scalegan.averages.label_summary import with_attributes
    from scalegan.data.spec import Spec

    spec = Spec.of(generator.about["spec"])
    if spec.vector_dim:
        if options.label is not None:
            raise UsageError(f"{options.run} takes texts, not classes; write --text in place of --class")
        return texts.conditions(generator, options)[1](range(len(_seeds(options))))
    texts.check_taken(options)
    if not spec.num_classes:
        if options.label is not None:
            raise UsageError(f"{options.run} is unconditional; leave out --class")
        return None
    asked = [] if options.label is None else [options.label]
    chosen = label_numbers("--class", asked, spec.num_classes, spec.label_names, options.run,
                           "attributes" if spec.multilabel else "classes")
    if not spec.multilabel:
        return torch.tensor(chosen[:1] or [0])
    return with_attributes(generator.about.get("labels"), spec, _seeds(options)[:1], chosen)
