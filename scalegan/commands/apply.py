"""Turns photos into images with a run or an export of a network from image to image, such as pix2pix.

INPUT are photos, folders and zips; what is below a folder keeps its sub-folder in DIR. A result is a PNG of the photo's
size, or of a multiple of it if the network enlarges; it is turned as the photo's EXIF says, and has its transparency.
What the network was trained to see (the photo, its grey version, its edges) is made from each photo; networks for
colours keep the photo's lightness. Large photos are seen in tiles, whose results are those of the whole photo; a
network that normalises over the whole photo sees it reduced to 2,048 px instead.

A network from pictures to shapes (3D-VAE-GAN's rebuild) sees the central square, grey; its result is a picture of the
shape from three sides, with its voxels (.npz) and its surface (.obj) beside it.

An input that cannot be read is named and left out; the exit code is then 1.
"""

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from scalegan.errors import UsageError
from scalegan.support import devices
from scalegan.support.arguments import Parser, file_named, folder, strengths, verb_parser

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from scalegan.pictures.photos import Found

    Answering = Callable[[np.ndarray, Callable[[str], None]], tuple[np.ndarray, str | None]]


def main(arguments: list[str]) -> int:
    parser = with_arguments(verb_parser(
        "apply", __doc__,
        "apply runs/pix2pix_edges photos/ --out drawn",
        "apply maps.safetensors aerial.tif album.zip --out maps --compare page.html",
        "apply runs/stargan_celeba faces/ --set Blond_Hair=1,Male=0 --out blond"))
    return on_photos(with_attributes(with_network(parser)).parse_args(arguments), lambda network: None)


def with_arguments(parser: Parser) -> Parser:
    """Adds the arguments of commands that turn photos into images."""
    parser.add_argument("run", type=Path, help="run folder, checkpoint, or exported .safetensors")
    parser.add_argument("inputs", type=Path, nargs="+", metavar="INPUT", help="photos, folders, zips")
    parser.add_argument("--out", type=folder, required=True, metavar="DIR", help="folder to write into")
    parser.add_argument("--compare", type=file_named("--compare", ".html for a page with sliders"), metavar="FILE.html",
                        help="also write a page that shows each photo before and after")
    parser.add_argument("--ema", metavar="NAME", help="one of the run's extra averages (recipe key emas)")
    return parser


def with_network(parser: Parser) -> Parser:
    """Adds the choice of a network by its name."""
    parser.add_argument("--network", metavar="NAME", help="one of the game's networks (default: its generator)")
    return parser


def with_attributes(parser: Parser) -> Parser:
    """Adds the attributes that photos should get."""
    parser.add_argument("--set", type=strengths, metavar="NAME=VALUE,...", dest="values",
                        help="for networks that take labels, such as StarGAN's: attributes that photos should have (1) "
                             "or not (0), or a class with 1; other attributes stay as the run's classifier sees them")
    return parser


def on_photos(options: Namespace, refuse: "Callable[[nn.Module], str | None]") -> int:
    """Applies the network to every photo, and reports the inputs that could not be read.

    Args:
        refuse: what is wrong with a network for the command, to follow what its inputs are, or None.
    """
    from scalegan.pictures import before_after, photos
    from scalegan.pictures.one_by_one import Answered, answer_all

    found = photos.find(options.inputs)
    before = photos.apart(options.out, "before", found.photos) if options.compare else None
    photos.check_apart(found.photos, [options.out, *([before] if before else [])])
    if not found.photos:
        return Answered(problems=found.problems).report()
    answering = _answering(options, _network(options, refuse))
    answered = answer_all(found, options.out, lambda one, said: _answer(one, answering, options.out, before, said))
    if options.compare and answered.photos:
        before_after.save(options.compare, f"Photos by {options.run}",
                          [(one.name, before / one.result, options.out / one.result) for one in answered.photos])
        print(options.compare.resolve())
    if answered.photos:
        print(options.out.resolve())
    return answered.report()


def _network(options: Namespace, refuse: "Callable[[nn.Module], str | None]") -> "nn.Module":
    """The network that --network or the run names, on a GPU if there is one.

    Raises:
        UsageError: if it does not turn images of any size into images, or `refuse` says what is wrong with it.
    """
    from scalegan.checkpoints.exports import load
    from scalegan.pictures.translation import turns_images_into_images

    network = load(options.run, options.network, options.ema)
    inputs = ", ".join(network.about["export"]["inputs"])
    makes_shapes = network.about["export"]["output"] == "volume" and hasattr(network, "picture_side")
    problem = refuse(network) if turns_images_into_images(network) or makes_shapes else \
        ("and does not turn images of any size into images; use a run of a game that does, such as "
         "game.name=pix2pix, colorization or cyclegan")
    if problem:
        raise UsageError(f"network '{network.about['network']}' of {options.run} takes {inputs}, {problem}")
    return network.to(devices.available())


def _answering(options: Namespace, network: "nn.Module") -> "Answering":
    """What makes an answer, and what users should know about it, of a photo.

    Raises:
        UsageError: if `--set` is missing, or does not fit the network.
    """
    from scalegan.checkpoints.exports import load
    from scalegan.pictures import translation
    from scalegan.pictures.attributes import Relabelling
    from scalegan.pictures.solids import shape_of

    values, about = getattr(options, "values", None), network.about
    if about["export"]["output"] == "volume" and not values:
        return lambda pixels, said: (shape_of(network, pixels), None)
    if "condition" not in about["export"]["inputs"]:
        if values:
            raise UsageError(f"--set: network '{about['network']}' of {options.run} takes no attributes; leave it out")
        return lambda pixels, said: (translation.translate(network, pixels, said),
                                     translation.remark(network, *pixels.shape[:2]))
    if not values:
        raise UsageError(f"network '{about['network']}' of {options.run} gives photos attributes; name some with "
                         f"--set, such as --set {network.names[0]}=1; it has {', '.join(network.names)}")
    classifier = load(options.run, "C").to(next(network.parameters()).device) if "C" in about["networks"] else None
    relabel = Relabelling(network, classifier, values)
    return lambda pixels, said: (relabel(pixels), None)


def _answer(one: "Found", answering: "Answering", out: Path, before: Path | None,
            said: Callable[[str], None]) -> list[str]:
    """Writes the result of a photo, and the photo itself if it is to be shown before it. Returns what users should know
    about the result.

    Raises:
        ValueError, MemoryError: if it cannot be read, or is too large.
        OSError: if the result cannot be written.
    """
    from scalegan.pictures import photos, solids

    photo = photos.read(one.read())
    answer, remark = answering(photo.pixels, said)
    if hasattr(answer, "numpy"):
        (out / one.result).parent.mkdir(parents=True, exist_ok=True)
        solids.write(out / one.result, answer)
    else:
        photos.write(out / one.result, answer, photo.alpha)
    if before:
        photos.write(before / one.result, photo.pixels, photo.alpha)
    return [remark] if remark else []
