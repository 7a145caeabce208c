"""Colours photos with a run or an export of a game whose network sees lightness: game.name=colorization, or pix2pix
with game.input=lightness.

INPUT are photos, folders and zips; what is below a folder keeps its sub-folder in DIR. A result is a PNG of the photo's
size with the photo's own lightness, turned as its EXIF says, with its transparency. The colours a photo had are not
looked at. A photo that cannot be read is named and left out; the exit code is then 1.
"""

from pathlib import Path

from scalegan.errors import UsageError
from scalegan.support.arguments import file_named, folder, report, verb_parser

LIGHTNESS = "lightness"


def main(arguments: list[str]) -> int:
    parser = verb_parser("colorize", __doc__,
                         "colorize runs/colorization_celeba old/ --out coloured",
                         "colorize faces.safetensors grandmother.jpg album.zip --out coloured --compare page.html")
    parser.add_argument("run", type=Path, help="run folder, checkpoint, or exported .safetensors")
    parser.add_argument("inputs", type=Path, nargs="+", metavar="INPUT", help="photos, folders, zips")
    parser.add_argument("--out", type=folder, required=True, metavar="DIR", help="folder to write into")
    parser.add_argument("--compare", type=file_named("--compare", ".html for a page with sliders"), metavar="FILE.html",
                        help="also write a page that shows each photo before and after")
    parser.add_argument("--network", metavar="NAME", help="one of the game's networks (default: its generator)")
    parser.add_argument("--ema", metavar="NAME", help="one of the run's extra averages (recipe key emas)")
    options = parser.parse_args(arguments)

    import torch

    from scalegan.checkpoints.exports import load
    from scalegan.pictures import before_after, photos
    from scalegan.pictures.colourise import colourise
    from scalegan.support.progress import Bar

    found = photos.find(options.inputs)
    network = load(options.run, options.network, options.ema)
    inputs = network.about["export"]["inputs"]
    if inputs[0] != LIGHTNESS:
        raise UsageError(f"network '{network.about['network']}' of {options.run} takes {', '.join(inputs)}, not "
                         "lightness; use a run of game.name=colorization")
    network.to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    side = network.about["spec"]["shape"][-1]
    problems, pairs = [], []
    with Bar("colouring", len(found), unit="photos") as bar:
        for one in found:
            try:
                photo = photos.read(one.read())
            except (ValueError, OSError) as error:
                problems.append(f"{one.name}: {error}")
                continue
            finally:
                bar.advance(1)
            result = options.out / one.result
            photos.write(result, colourise(network, photo.pixels, side), photo.alpha)
            if options.compare:
                before = options.out / "before" / one.result
                photos.write(before, photo.pixels, photo.alpha)
                pairs.append((one.name, before, result))
    if options.compare:
        before_after.save(options.compare, f"Colours by {options.run}", pairs)
        print(options.compare.resolve())
    if len(problems) < len(found):
        print(options.out.resolve())
    return report(problems)
