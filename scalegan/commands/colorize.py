"""Colours photos with a run or an export of a game whose network sees lightness: game.name=colorization, or pix2pix
with game.input=lightness.

INPUT are photos, folders and zips; what is below a folder keeps its sub-folder in DIR. A result is a PNG of the photo's
size with the photo's own lightness, turned as its EXIF says, with its transparency. The colours a photo had are not
looked at. An input that cannot be read is named and left out; the exit code is then 1.
"""

from typing import TYPE_CHECKING

from scalegan.commands.apply import on_photos, with_arguments, with_network
from scalegan.support.arguments import verb_parser

if TYPE_CHECKING:
    from torch import nn


def main(arguments: list[str]) -> int:
    parser = with_arguments(verb_parser(
        "colorize", __doc__,
        "colorize runs/colorization_celeba old/ --out coloured",
        "colorize faces.safetensors grandmother.jpg album.zip --out coloured --compare page.html"))
    return on_photos(with_network(parser).parse_args(arguments), _refused)


def _refused(network: "nn.Module") -> str | None:
    if network.about["export"]["inputs"][0] == "lightness":
        return None
    return "not lightness; use a run of game.name=colorization"
