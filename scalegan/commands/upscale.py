"""Enlarges photos with a run or an export of a network that does, such as game.name=srgan or a converted ESRGAN.

INPUT are photos, folders and zips; what is below a folder keeps its sub-folder in DIR. The network takes each photo as
it is, and a result is a PNG of as many times its size as the network enlarges, such as four; it is turned as the
photo's EXIF says, and its transparency is enlarged by a bicubic filter. Large photos are seen in tiles, so that memory
stays bounded. An input that cannot be read is named and left out; the exit code is then 1.
"""

from typing import TYPE_CHECKING

from scalegan.commands.apply import on_photos, with_arguments, with_network
from scalegan.support.arguments import verb_parser

if TYPE_CHECKING:
    from torch import nn


def main(arguments: list[str]) -> int:
    parser = with_arguments(verb_parser(
        "upscale", __doc__,
        "upscale runs/srgan_photos small/ --out large",
        "upscale esrgan.safetensors thumbnail.png album.zip --out large --compare page.html"))
    return on_photos(with_network(parser).parse_args(arguments), _refused)


def _refused(network: "nn.Module") -> str | None:
    if network.scale > 1:
        return None
    return "and answers at the photo's size; use a run of game.name=srgan, or `scalegan apply`"
