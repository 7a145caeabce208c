"""How near projections come to photos: `python tools/projection_distance.py RUN --data SET --test SET`.

SETs are prepared images of the run's size: those of --test are projected into a run of StyleGAN2, and compared with the
images of --data that the run learnt from. Prints one JSON object; distances are those that `scalegan project` minimises
(pixels and features), and the mean squared differences of pixels in [-1, 1]:

nearest     of the nearest image of --data, by each distance
w, w+       of the projection
tuned       of w's projection after pivotal tuning
below       how many photos have a projection nearer than every image of --data
"""

import argparse
import json
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np
import torch
from torch import Tensor

from scalegan.checkpoints import exports
from scalegan.cli import run_verb
from scalegan.data.pixels import from_levels
from scalegan.latents import pivotal_tuning, stylegan2_projection
from scalegan.latents.likeness import Likeness
from scalegan.latents.projection import Way
from scalegan.latents.space import Space
from scalegan.metrics.images import StoredImages
from scalegan.metrics.samples import read
from scalegan.support.progress import Bar

_AT_ONCE = 256


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("--data", required=True)
    parser.add_argument("--test", required=True)
    parser.add_argument("--photos", type=int, default=10, help="how many, the first ones (default 10)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    likeness, known = Likeness(torch.device("cpu")), images_of(options.data)
    photos, found = images_of(options.test, options.photos), {"nearest": [], "w": [], "w+": [], "tuned": []}
    with Bar("projecting", len(photos), unit="photos") as bar:
        for photo in photos.split(1):
            found["nearest"].append(nearest(known, photo, likeness))
            for way, made in projections(options.run, photo, likeness).items():
                found[way].append(distances(made, photo, likeness))
            bar.advance(1)
    means = {name: {kind: round(float(np.mean([one[place] for one in rows])), 4)
                    for place, kind in enumerate(("distance", "pixels"))} for name, rows in found.items()}
    below = {name: {kind: sum(one[place] < near[place] for one, near in zip(rows, found["nearest"]))
                    for place, kind in enumerate(("distance", "pixels"))}
             for name, rows in found.items() if name != "nearest"}
    print(json.dumps({"photos": len(photos), **means, "below": below}, indent=1))
    return 0


def images_of(path: str, count: int | None = None) -> Tensor:
    images = StoredImages(path)
    return from_levels(read(images, np.arange(min(count or len(images), len(images)))))


def projections(run: Path, photo: Tensor, likeness: Likeness) -> dict[str, Tensor]:
    """The image of each kind of projection, [1, C, H, W]."""
    made = {}
    for way in ("w+", "w"):
        space = Space(exports.load_generator(run))
        found = stylegan2_projection.project(space, photo, None, likeness, lambda steps: None, Way(), way == "w+",
                                             stylegan2_projection.STEPS, 0)
        made[way] = found.images(space).clamp(-1, 1)
    pivotal_tuning.tune(space, found, photo, likeness, lambda steps: None, Way())
    return {**made, "tuned": found.images(space).clamp(-1, 1)}


@torch.no_grad()
def distances(images: Tensor, photo: Tensor, likeness: Likeness) -> tuple[float, float]:
    """The least over images [n, C, H, W], by `likeness` and by pixels."""
    return float(likeness(images, photo).min()), float((images - photo).square().mean((1, 2, 3)).min())


def nearest(known: Tensor, photo: Tensor, likeness: Likeness) -> tuple[float, float]:
    return tuple(map(min, zip(*(distances(part, photo, likeness) for part in known.split(_AT_ONCE)))))


if __name__ == "__main__":
    sys.exit(run_verb(main, sys.argv[1:]))
