"""Translates photos from one domain to another with a run or an export of game.name=cyclegan, or of another network
from image to image; or gives them the attributes that --set names, with one of game.name=stargan.

INPUT are photos, folders and zips; what is below a folder keeps its sub-folder in DIR. A result is a PNG of the photo's
size, turned as its EXIF says, with its transparency. Domain A are the images that the run found in data.path, B those
in streams.B.path. A network that normalises over the whole photo, as CycleGAN's does, sees large ones reduced to 2,048
px, and its answers are enlarged. StarGAN's sees a photo at the size of training, and what it changes is enlarged;
attributes that --set does not name stay as its own classifier sees them, but a hair colour that is set clears the
others. An input that cannot be read is named and left out; the exit code is then 1.
"""

from argparse import ArgumentTypeError

from scalegan.commands.apply import on_photos, with_arguments, with_attributes
from scalegan.support.arguments import verb_parser

_DIRECTIONS = {"A_to_B": "A_to_B", "B_to_A": "B_to_A", "AtoB": "A_to_B", "BtoA": "B_to_A"}


def main(arguments: list[str]) -> int:
    parser = with_arguments(verb_parser(
        "translate", __doc__,
        "translate runs/seasons summer/ --out winter",
        "translate runs/seasons snow.jpg album.zip --direction B_to_A --out summer --compare page.html",
        "translate runs/stargan_celeba photo.jpg --set Blond_Hair=1,Male=0 --out blond"))
    parser.add_argument("--direction", type=_direction, dest="network", metavar="A_to_B|B_to_A",
                        help="from domain A to B, or back; AtoB and BtoA are the same (default: A_to_B, or the only "
                             "network of an export)")
    return on_photos(with_attributes(parser).parse_args(arguments), lambda network: None)


def _direction(text: str) -> str:
    if text not in _DIRECTIONS:
        raise ArgumentTypeError(f"'{text}' is neither A_to_B nor B_to_A")
    return _DIRECTIONS[text]
