"""Edits samples of a run, a checkpoint or an export by their latents.

--direction moves the samples of --seeds along a direction that `scalegan directions` found, by a number of standard
deviations: a row for each seed, from as far the other way to as far as asked, with the plain sample in the middle.
Several directions move together. --arithmetic adds and subtracts means of latents (Radford et al., 2016): the samples
of each term, their mean, and the result among eight neighbours. --paint finds, near a sample or the projection of a
photo, an image with the colours that a file of strokes or a picture paints (Zhu et al., 2016); beside a picture's
paint, and where a file of strokes says so, pixels are kept. It prints a JSON line for each start, and writes the result
alone and its latent beside FILE.png.

Seeds and labels are those of `scalegan sample`. A seed gives the same pictures whatever else is in the file.
"""

import argparse
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scalegan.commands import stored_latents
from scalegan.commands.sample import labels_by_place
from scalegan.errors import UsageError, UserError
from scalegan.support import devices
from scalegan.support.arguments import file_named, finite, names, seeds, verb_parser

if TYPE_CHECKING:
    from torch import Tensor

    from scalegan.latents.likeness import Likeness
    from scalegan.latents.painting import Start
    from scalegan.latents.space import Space

_MOST_IMAGES, _MOST_PIXELS = 5000, 500_000_000      # of a picture that is made in memory


def main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    if bool(options.direction) + bool(options.arithmetic) + bool(options.paint) != 1:
        raise UsageError("name what to do: --direction NAME=+2, --arithmetic '0,1,2 - 3,4,5 + 6,7,8', or --paint FILE")
    if options.photo and not options.paint:
        raise UsageError("--photo is painted on; name the colours with --paint, or leave it out")
    if options.paint and options.directions:
        raise UsageError("--paint needs no directions; leave out --directions")
    if options.photo and options.seeds:
        raise UsageError("--photo and --seeds are two things to start from; leave one out")
    if options.latents and not options.direction:
        raise UsageError("--latents are moved along directions; name one with --direction")
    stored_latents.check_alone(options, "seeds", "classes", "psi")
    if options.arithmetic and (options.seeds or options.directions):
        raise UsageError("--arithmetic names its own seeds, and needs no directions; leave out --seeds and "
                         "--directions")
    moves = amounts(options.direction)

    from scalegan.checkpoints.exports import load_generator
    from scalegan.latents.space import Space, check_images

    generator = load_generator(options.run, options.network, options.ema, options.psi)
    check_images(generator, options.run)
    space = Space(generator.to(devices.available()), options.psi)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    try:
        if options.paint:
            _paint(options, space)
            return 0
        if options.arithmetic:
            _arithmetic(options, space)
        else:
            _strip(options, space, moves)
    except ValueError as error:     # the model has no truncation
        raise UsageError(str(error)) from error
    print(options.out.resolve())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = verb_parser("edit", __doc__,
                         "edit runs/faces --direction Smiling=+2 --seeds 0-7 --out strip.png",
                         "edit runs/faces --direction Smiling=+2 --direction Male=-1",
                         'edit faces.safetensors --arithmetic "0,1,2 - 3,4,5 + 6,7,8" --out sum.png',
                         "edit runs/faces --paint strokes.json --seeds 3 --out painted.png",
                         "edit runs/faces --paint mask.png --photo me.jpg --out painted.png")
    parser.add_argument("run", type=Path, help="run folder, checkpoint, or exported .safetensors")
    parser.add_argument("--direction", action="append", default=[], metavar="NAME=AMOUNT", help="a direction and how "
                        "many standard deviations to move along it, such as Smiling=+2; may be given several times")
    parser.add_argument("--arithmetic", metavar="SEEDS", help="such as '0,1,2 - 3,4,5 + 6,7,8'")
    parser.add_argument("--paint", type=Path, metavar="FILE", help="colours: a .json file with strokes, or a picture "
                        "that is transparent where nothing is painted")
    parser.add_argument("--photo", type=Path, metavar="FILE", help="what to paint on in place of samples; its central "
                        "square is projected")
    parser.add_argument("--seeds", type=seeds, help="such as 0-7 (the default; 0 with --paint) or 1,5,9")
    stored_latents.add_argument(parser)
    parser.add_argument("--directions", type=Path, metavar="FILE", help="file that `scalegan directions` wrote "
                        "(default: those beside the run or export)")
    parser.add_argument("--psi", type=finite, default=1.0, help="truncation, if the model supports it")
    parser.add_argument("--classes", type=names, help="classes, by name or number, repeated over the seeds; attributes "
                        "that all samples have; --arithmetic takes one class, 0 by default")
    parser.add_argument("--network", metavar="NAME", help="one of the game's networks, if several generate samples")
    parser.add_argument("--ema", metavar="NAME", help="one of the run's extra averages (recipe key emas)")
    parser.add_argument("--out", type=file_named("--out", ".png"), default=Path("edit.png"), help="FILE.png")
    return parser


def amounts(asked: list[str]) -> dict[str, float]:
    """How far to move along each direction: ['Smiling=+2'] is {"Smiling": 2.0}.

    Raises:
        UsageError: for what is not of that form.
    """
    found: dict[str, float] = {}
    for text in asked:
        name, _, amount = text.rpartition("=")
        if name in found:
            raise UsageError(f"--direction {name} is given twice; give one amount")
        try:
            found[name] = finite(amount)
        except argparse.ArgumentTypeError:
            found[name] = 0.0
        if not name or not found[name]:
            raise UsageError(f"--direction {text}: write a name and how far to move, such as Smiling=+2")
    return found


def _strip(options: argparse.Namespace, space: "Space", moves: Mapping[str, float]) -> None:
    from scalegan.latents.edit import STEPS, moved, shares
    from scalegan.latents.latent_files import Latents
    from scalegan.pictures.grids import save_columns

    latents = stored_latents.read(options, space.generator)[1] if options.latents else None
    chosen = range(len(latents)) if latents else options.seeds or range(8)
    if len(chosen) * STEPS > (most := _most_images(space)):
        raise UsageError(f"--seeds asks for {len(chosen):,} rows; at most {most // STEPS:,} fit")
    if latents is None:
        _, labels_of = labels_by_place(space.generator, options.run, chosen, options.classes)
        labels = labels_of(range(len(chosen)))
        latents = Latents(space.of_seeds(chosen, labels), labels)
    images = moved(space, latents, _step(options, space, moves))
    save_columns(options.out, dict(zip((_caption(moves, share) for share in shares()), images)))


def _caption(moves: Mapping[str, float], share: float) -> str:
    """What stands above a step: how far it goes along the direction, or of the way along several."""
    if not share:
        return "0"
    amount = share * next(iter(moves.values()))
    return f"{amount:+.3g}" if len(moves) == 1 else f"{share:+.0%}"


def _step(options: argparse.Namespace, space: "Space", moves: Mapping[str, float]) -> "Tensor":
    """The sum of all moves [dim], by the directions of the file that the user names, or of those beside the run."""
    from scalegan.latents import directions

    files = [options.directions] if options.directions else directions.beside(options.run)
    if not files:
        raise UserError(f"{options.run} has no directions yet; find some with `scalegan directions {options.run} "
                        "--data PATH`, or without labels by --unsupervised sefa")
    found = {path: directions.read(path) for path in files}
    chosen = {name: directions.named(name, found) for name in moves}
    for path in set(chosen.values()):
        directions.check_fit(found[path], path, space, options.run)
    return sum(found[path].step(name, moves[name]) for name, path in chosen.items())


def _paint(options: argparse.Namespace, space: "Space") -> None:
    """Paints on each start, prints its figures and writes its result; then writes the picture of all."""
    import torch

    from scalegan.latents.descent import STEPS
    from scalegan.latents.latent_files import Latents
    from scalegan.latents.likeness import Likeness
    from scalegan.latents.paint import read
    from scalegan.latents.painting import RESTARTS, columns, figures, paint_on
    from scalegan.latents.projection import STARTS
    from scalegan.pictures.grids import save_columns, save_image
    from scalegan.support.progress import Bar

    chosen = [0] if options.photo else list(dict.fromkeys(options.seeds or [0]))
    if len(chosen) > (most := _most_images(space) // 4):
        raise UsageError(f"--seeds asks for {len(chosen):,} rows; at most {most:,} fit")
    names = ["photo"] if options.photo else [f"seed{seed:06d}" for seed in chosen]
    alone = {name: options.out.with_name(f"{options.out.stem}_{name}.png") for name in names}
    _check_apart([options.out, *alone.values()], [options.paint, options.photo])
    paint, likeness = read(options.paint, space.shape).to(space.device), Likeness(space.device)
    rows = []
    steps = (STEPS + 1) * (RESTARTS * len(chosen) + (STARTS if options.photo else 0))
    with Bar("painting", steps, unit="steps") as bar:
        for start, (name, path) in zip(_starts(options, space, chosen, likeness, bar.advance), alone.items()):
            painted = paint_on(space, start, paint, likeness, bar.advance)
            save_image(path, painted.result[0])
            found = Latents(painted.point[None], None if space.styled else start.label)
            found.save(path.with_suffix(".safetensors"), space)
            rows.append(columns(start, paint, painted))
            print(json.dumps({"start": name, **figures(start, paint, painted), "alike_in": likeness.name,
                              "result": str(path.resolve())}), flush=True)
    save_columns(options.out, {column: torch.cat([row[column].cpu() for row in rows]) for column in rows[0]})


def _check_apart(written: Sequence[Path], read: Sequence[Path | None]) -> None:
    """Raises UsageError if a file to write is one to read."""
    for path in written:
        if path.resolve() in [one.resolve() for one in read if one]:
            raise UsageError(f"--out: {path} is read, and would be overwritten; name another file")


def _starts(options: argparse.Namespace, space: "Space", chosen: Sequence[int], likeness: "Likeness",
            advance: Callable[[int], None]) -> "Iterator[Start]":
    """The samples of the seeds, or the photo."""
    from scalegan.latents.painting import of_photo, of_seed

    _, labels_of = labels_by_place(space.generator, options.run, chosen, options.classes)
    for place, seed in enumerate(chosen):
        label = labels_of(range(place, place + 1))
        yield of_photo(space, options.photo, label, likeness, advance) if options.photo else of_seed(space, seed, label)


def _most_images(space: "Space") -> int:
    """How many images one picture takes."""
    return min(_MOST_IMAGES, _MOST_PIXELS // math.prod(space.shape[-2:]))


def _arithmetic(options: argparse.Namespace, space: "Space") -> None:
    from scalegan.latents.edit import arithmetic, parsed
    from scalegan.pictures.arithmetic import save_arithmetic

    terms = parsed(options.arithmetic)
    everyone = [seed for term in terms for seed in term.seeds]
    if len(everyone) > (most := _most_images(space)):
        raise UsageError(f"--arithmetic asks for {len(everyone):,} samples; at most {most:,} fit")
    made = arithmetic(space, terms, _one_label(options, space, everyone))
    heads = [("" if place == 0 else "- " if term.sign < 0 else "+ ") + ",".join(map(str, term.seeds))
             for place, term in enumerate(terms)]
    save_arithmetic(options.out, made.samples, heads, made.means, made.results)


def _one_label(options: argparse.Namespace, space: "Space", chosen: list[int]) -> "Tensor | None":
    """The label of every image: the class that is named, or the attributes of the first seed."""
    _, labels_of = labels_by_place(space.generator, options.run, chosen, options.classes)
    if space.generator.about["spec"].get("classes") and len(options.classes or []) > 1:
        raise UsageError("--arithmetic takes one class for all images; name one with --classes")
    return labels_of(range(1))
