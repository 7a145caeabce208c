"""Colorization under several losses, with the same networks, data and number of images (after Fabbri, 2017)."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from scalegan.checkpoints.exports import load
from scalegan.data.colour import in_gamut, rgb_to_lab
from scalegan.data.derived import DERIVED
from scalegan.data.picture import crop, resize
from scalegan.data.pixels import from_levels
from scalegan.engines.ranks import Ranks
from scalegan.errors import UserError
from scalegan.metrics.images import Images, check_same_shape, open_images
from scalegan.metrics.pairs import Totals
from scalegan.pictures.grids import save_columns
from scalegan.pictures.photos import find, read
from scalegan.study import runs
from scalegan.study.tables import Column, as_markdown
from scalegan.support.files import write_whole

# The study's settings: Adam 1e-4 with torch's betas; for WGAN RMSProp 5e-5 and weights clipped at 0.005; the margin of
# EBGAN is the mean squared error that its 80 is at four images of 256 px.
_ADAM, _RMSPROP = "{name: adam, lr: 1e-4, betas: [0.9, 0.999]}", "{name: rmsprop, lr: 5e-5}"
_LOSSES = {
    "GAN": ["game.loss=non_saturating"],
    "LSGAN": ["game.loss=least_squares"],
    "EBGAN": ["game.loss=ebgan", "game.margin=0.195"],
    "WGAN": ["game.loss=wasserstein_clip", "game.clip=0.005", "game.updates={D: 5}", f"optimizer.default={_RMSPROP}"],
    "WGAN-GP": ["game.loss=wgan_gp", "game.updates={D: 5}"],
}
_DISTANCES = {"L1": ["game.pixel=l1"], "L2": ["game.pixel=l2"]}
VARIANTS: Mapping[str, list[str]] = {
    **{distance: ["game.adversarial_weight=0", *keys] for distance, keys in _DISTANCES.items()},
    **{f"{loss} + {distance}": [*of_loss, *of_distance] for distance, of_distance in _DISTANCES.items()
       for loss, of_loss in _LOSSES.items()},
}
METRICS = ("ab_l1", "colourfulness", "ab_histogram", "psnr", "fd")
SHOWN = 8       # photos in a picture
_COLUMNS = {"ab_l1": Column("ab-L1", 2), "colourfulness": Column("colourfulness", 1),
            "ab_histogram": Column("overlap of colours", 3), "psnr": Column("PSNR", 2), "fd": Column("FD-EffLite0", 1),
            "minutes": Column("minutes", 1)}

Figures = dict[str, float]


def study(variants: Sequence[str], train: Path, tests: Sequence[Path], seeds: Sequence[int], images: int, samples: int,
          out: Path, uncoloured: Path | None = None, keys: Sequence[str] = ()) -> None:
    """Trains every variant with every seed, or goes on where an earlier call stopped, and writes table.json, table.md,
    picture.png and, with `uncoloured`, photos.png.

    Args:
        train, tests: prepared sets of colour images of one size.
        images: that each training takes from `train`; a critic's updates take most of them.
        samples: photos of each test set that figures are over.
        uncoloured: a photo without colour, or a folder or zip of such, of any size.
        keys: further recipe keys of all trainings.

    Raises:
        UserError: if a set has no colour or another size, or a training or an evaluation failed.
    """
    held_out = [open_images(str(path)) for path in tests]
    for one in [open_images(str(train)), *held_out]:
        if (channels := one.shape[0]) != 3:
            raise UserError(f"{one.name} has {channels} channel, but this study needs colour; prepare colour photos")
        check_same_shape(one, held_out[0])
    side = held_out[0].shape[1]
    grey = _squares(uncoloured, side) if uncoloured else None
    tables = {one.name: {"grey": [], "mean colour": [_of_mean_colour(train, one, samples)]} for one in held_out}
    for seed in seeds:
        for variant in variants:
            run = _run(out, variant, seed)
            runs.train(run, ["recipe=colorization_celeba", f"optimizer.default={_ADAM}", *VARIANTS[variant], *keys,
                             f"data.path={train}", f"data.resolution={side}", f"seed={seed}", f"total_images={images}"])
            for one in held_out:
                figures, of_grey = _evaluated(run, one, samples)
                rows = tables[one.name]
                rows.setdefault(variant, []).append({**figures, "minutes": runs.minutes_of(run)})
                rows["grey"] = [of_grey]
    for one in held_out:
        tables[one.name]["truth"] = [{"colourfulness": _truth(one, samples)}]
    write_whole(out / "table.json", json.dumps(tables, indent=1) + "\n")
    write_whole(out / "table.md", "\n".join(f"{name}:\n\n{as_markdown(rows, _COLUMNS)}"
                                            for name, rows in tables.items()))
    of_variants = {variant: _run(out, variant, seeds[0]) for variant in variants}
    truth = torch.cat([_photos(one, max(1, SHOWN // len(held_out))) for one in held_out])
    _picture(out / "picture.png", of_variants, truth, {"truth": truth})
    if grey is not None:
        _picture(out / "photos.png", of_variants, grey, {})


def _run(out: Path, variant: str, seed: int) -> Path:
    return out / "runs" / f"{variant}_{seed}".replace(" + ", "_").lower()


def _evaluated(run: Path, test: Images, samples: int) -> tuple[Figures, Figures]:
    """Figures of the answers, and of the grey photos."""
    file = run / f"study_{test.content[:12]}_{samples}.json"
    if not file.exists():
        command = [sys.executable, "-m", "scalegan", "evaluate", str(run), "--data", test.name, "--metrics",
                   ",".join(METRICS), "--num-samples", str(samples)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            raise UserError(f"the evaluation of {run} ended with the error above")
        write_whole(file, done.stdout)
    found = json.loads(file.read_text())
    return {key: found["metrics"][key] for key in METRICS}, found["of_inputs"]


def _photos(images: Images, count: int) -> Tensor:
    """The first ones, [n, 3, H, W] in [-1, 1]."""
    return from_levels(torch.from_numpy(np.stack([images.read(number) for number in range(min(count, len(images)))]))
                      .permute(0, 3, 1, 2))


def _squares(path: Path, side: int) -> Tensor:
    """The central squares of the first photos, [n, 3, side, side] in [-1, 1].

    Raises:
        UserError: if there are none, or one is broken.
    """
    found, squares = find([path]), []
    if found.problems:
        raise UserError(f"--photos: {found.problems[0]}")
    for one in found.photos[:SHOWN]:
        try:
            pixels = read(one.read()).pixels
        except ValueError as error:
            raise UserError(f"{one.name}: {error}; leave it out of --photos") from error
        squares.append(resize(crop(pixels, "center"), side, 3, "lanczos"))
    return from_levels(torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2))


def _of_mean_colour(train: Path, held_out: Images, samples: int) -> Figures:
    """Figures of photos that all have the mean a* and b* of training images."""
    mean = rgb_to_lab(_photos(open_images(str(train)), samples) / 2 + 0.5)[:, 1:].mean((0, 2, 3))
    total = Totals(colour=True)
    for photos in _photos(held_out, samples).split(64):
        lightness = rgb_to_lab(photos / 2 + 0.5)[:, :1]
        ab = mean[None, :, None, None].expand(len(photos), -1, *photos.shape[2:])
        total.add(in_gamut(torch.cat([lightness, ab], 1)) * 2 - 1, photos)
    return total.figures(METRICS, Ranks(0, 1, torch.device("cpu")))


def _truth(held_out: Images, samples: int) -> float:
    photos, total = _photos(held_out, samples), Totals(colour=True)
    total.add(photos, photos)
    return total.figures(("colourfulness",), Ranks(0, 1, torch.device("cpu")))["colourfulness"]


@torch.no_grad()
def _picture(path: Path, of_variants: Mapping[str, Path], photos: Tensor, further: Mapping[str, Tensor]) -> None:
    """The photos without their colours, each variant's answers, and further columns."""
    lightness = DERIVED["lightness"].make(photos)
    answers = {name.replace(" + ", " "): load(run)(lightness)    # a name that fits over a column
               for name, run in of_variants.items()}
    save_columns(path, {"grey": lightness, **answers, **further})
