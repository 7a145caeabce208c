"""Turns photos into images with a run or an export of a game from image to image, such as pix2pix.

INPUT are photos, folders and zips; what is below a folder keeps its sub-folder in DIR. A result is a PNG of the photo's
size, turned as its EXIF says, with its transparency. What the network was trained to see (the photo, its grey version,
its edges) is made from each photo; networks for colours keep the photo's lightness. The network sees a photo at its own
size, or with its longer side at 2,048 px if that is longer. A photo that cannot be read is named and left out; the exit
code is then 1.
"""

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from scalegan.errors import UsageError
from scalegan.support.arguments import Parser, file_named, folder, report, verb_parser


def main(arguments: list[str]) -> int:
    options = with_arguments(verb_parser("apply", __doc__,
                                         "apply runs/pix2pix_edges photos/ --out drawn",
                                         "apply maps.safetensors aerial.tif album.zip --out maps --compare page.html")
                             ).parse_args(arguments)
    return on_photos(options, lambda inputs: None)


def with_arguments(parser: Parser) -> Parser:
    """Adds the arguments of commands that turn photos into images."""
    parser.add_argument("run", type=Path, help="run folder, checkpoint, or exported .safetensors")
    parser.add_argument("inputs", type=Path, nargs="+", metavar="INPUT", help="photos, folders, zips")
    parser.add_argument("--out", type=folder, required=True, metavar="DIR", help="folder to write into")
    parser.add_argument("--compare", type=file_named("--compare", ".html for a page with sliders"), metavar="FILE.html",
                        help="also write a page that shows each photo before and after")
    parser.add_argument("--network", metavar="NAME", help="one of the game's networks (default: its generator)")
    parser.add_argument("--ema", metavar="NAME", help="one of the run's extra averages (recipe key emas)")
    return parser


def on_photos(options: Namespace, refuse: Callable[[tuple[str, ...]], str | None]) -> int:
    """Applies the network to every photo, and reports those that could not be read.

    Args:
        refuse: what is wrong with a network of these inputs for the command, or None.
    """
    import torch

    from scalegan.checkpoints.exports import load
    from scalegan.config.models import IMAGE_TO_IMAGE
    from scalegan.pictures import before_after, photos
    from scalegan.pictures.translation import translate
    from scalegan.support.progress import Bar

    found = photos.find(options.inputs)
    photos.check_apart(found, [options.out, *([options.out / "before"] if options.compare else [])])
    network = load(options.run, options.network, options.ema)
    name, inputs = network.about["network"], tuple(network.about["export"]["inputs"])
    if network.about["model"]["name"] not in IMAGE_TO_IMAGE:
        raise UsageError(f"network '{name}' of {options.run} takes {', '.join(inputs)}, and does not turn images of "
                         "any size into images; use a run of game.name=pix2pix, colorization or cyclegan")
    if problem := refuse(inputs):
        raise UsageError(f"network '{name}' of {options.run} takes {', '.join(inputs)}, {problem}")
    network.to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    problems, pairs = [], []
    with Bar("photos", len(found), unit="photos") as bar:
        for one in found:
            try:
                photo = photos.read(one.read())
            except (ValueError, OSError) as error:
                problems.append(f"{one.name}: {error}")
                continue
            finally:
                bar.advance(1)
            result = options.out / one.result
            photos.write(result, translate(network, photo.pixels), photo.alpha)
            if options.compare:
                before = options.out / "before" / one.result
                photos.write(before, photo.pixels, photo.alpha)
                pairs.append((one.name, before, result))
    if options.compare:
        before_after.save(options.compare, f"Photos by {options.run}", pairs)
        print(options.compare.resolve())
    if len(problems) < len(found):
        print(options.out.resolve())
    return report(problems)
