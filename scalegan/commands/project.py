"""Finds the latent of a photo: the point whose image, as a run's generator draws it, is most like the middle of the
photo.

Style-based generators are searched as StyleGAN2 does: w and the noise planes by 1,000 steps from the mean of w;
--space w+ has a w for each layer, which comes nearer to the photo but takes edits less well. Others are searched in z,
from the most alike of 256 samples. Images are compared by their pixels and by ImageNet features (extra `metrics`).

DIR gets latent.safetensors, which `sample`, `interpolate` and `edit` take (--latents), projected.png, picture.png with
photo and projection, and way.gif, how it was found. --pivotal-tuning then trains the generator on the photo for 350
steps, and writes it as tuned.safetensors, an export: latent.safetensors belongs to that export. It prints a JSON line.
"""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from scalegan.commands.sample import labels_by_place
from scalegan.errors import UsageError
from scalegan.support import devices
from scalegan.support.arguments import folder, names, verb_parser, whole

if TYPE_CHECKING:
    from torch import Tensor

    from scalegan.latents.latent_files import Latents
    from scalegan.latents.projection import Way
    from scalegan.latents.space import Space

_FRAME_SECONDS = 0.05
_NAMES = ("latent.safetensors", "projected.png", "picture.png", "way.gif", "tuned.safetensors")


def main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)

    import torch

    from scalegan.checkpoints import exports
    from scalegan.latents.likeness import Likeness
    from scalegan.latents.projection import Way, read_photo
    from scalegan.latents.space import Space, check_images
    from scalegan.pictures.grids import save_animation, save_columns, save_image

    generator = exports.load_generator(options.run, options.network, options.ema)
    check_images(generator, options.run)
    space = Space(generator.to(devices.available()))
    if not space.styled and (options.space or options.steps):
        raise UsageError(f"{options.run} is not style-based, and is searched in z by fixed steps; leave out "
                         f"{'--space' if options.space else '--steps'}")
    if options.photo.resolve() in [(options.out / name).resolve() for name in _NAMES]:
        raise UsageError(f"--out {options.out}: {options.photo} lies there and would be overwritten; name another "
                         "folder")
    photo, likeness, way = read_photo(space, options.photo), Likeness(space.device), Way()
    found = _found(options, space, photo, likeness, way)
    options.out.mkdir(parents=True, exist_ok=True)
    found.save(options.out / _NAMES[0], space)
    image = found.images(space).clamp(-1, 1)
    save_image(options.out / _NAMES[1], image[0])
    save_columns(options.out / _NAMES[2], {"photo": photo.cpu(), "projected": image})
    save_animation(options.out / _NAMES[3], torch.stack([torch.cat([photo[0].cpu(), frame], 2) for frame in
                                                         [*way.frames, image[0]]]), _FRAME_SECONDS)
    if options.pivotal_tuning:
        exports.save(generator, options.out / _NAMES[4])
    error = (image - photo.cpu()).square().mean()
    print(json.dumps({"photo": str(options.photo), "distance": round(float(likeness(image.to(photo), photo)), 6),
                      "psnr": round(float(10 * torch.log10(4 / error)), 2), "alike_in": likeness.name,
                      "latent": str((options.out / _NAMES[0]).resolve())}))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = verb_parser("project", __doc__,
                         "project me.jpg runs/faces --out me",
                         "project me.jpg runs/faces --space w+ --pivotal-tuning --out me",
                         "edit me/tuned.safetensors --latents me/latent.safetensors --direction Smiling=+2 "
                         "--directions runs/faces/directions.safetensors")
    parser.add_argument("photo", type=Path,
                        help="a JPEG, PNG, WebP or TIFF; its middle is projected, in the ratio of the run's images")
    parser.add_argument("run", type=Path, help="run folder, checkpoint, or exported .safetensors")
    parser.add_argument("--space", choices=("w", "w+"), help="of style-based generators (default: w)")
    parser.add_argument("--steps", type=whole(1, 1_000_000), help="of style-based generators (default: 1000)")
    parser.add_argument("--pivotal-tuning", action="store_true", help="then train the generator on the photo")
    parser.add_argument("--classes", type=names, help="the photo's class, by name or number, or its attributes")
    parser.add_argument("--seed", type=whole(), default=0, help="of the noise (default 0)")
    parser.add_argument("--network", metavar="NAME", help="one of the game's networks, if several generate samples")
    parser.add_argument("--ema", metavar="NAME", help="one of the run's extra averages (recipe key emas)")
    parser.add_argument("--out", type=folder, required=True, metavar="DIR", help="folder to write into")
    return parser


def _found(options: argparse.Namespace, space: "Space", photo: "Tensor", likeness: object, way: "Way") -> "Latents":
    """The photo's latent; with --pivotal-tuning, the space's generator has then learnt the photo."""
    from scalegan.latents import descent, pivotal_tuning, projection, stylegan2_projection
    from scalegan.latents.latent_files import Latents
    from scalegan.support.progress import Bar

    label = _label(options, space)
    steps = (options.steps or stylegan2_projection.STEPS) if space.styled else \
        (descent.STEPS + 1) * projection.STARTS
    with Bar("projecting", steps + options.pivotal_tuning * pivotal_tuning.STEPS, unit="steps") as bar:
        if space.styled:
            found = stylegan2_projection.project(space, photo, label, likeness, bar.advance, way,
                                                 options.space == "w+", steps, options.seed)
        else:
            point = projection.project(space, photo, label, likeness, bar.advance, way)
            found = Latents(point[None], label)
        if options.pivotal_tuning:
            pivotal_tuning.tune(space, found, photo, likeness, bar.advance, way)
    return found


def _label(options: argparse.Namespace, space: "Space") -> "Tensor | None":
    """The photo's label. Where none is named, w is searched from the mean over all labels."""
    _, labels_of = labels_by_place(space.generator, options.run, [options.seed], options.classes)
    return None if space.styled and not options.classes else labels_of(range(1))
