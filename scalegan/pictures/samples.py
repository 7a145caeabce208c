"""Samples as files for each seed, and a grid of the first ones."""

import json
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from scalegan.pictures import grids
from scalegan.support.files import write_whole
from scalegan.support.progress import Bar
from scalegan.support.reading import or_none, read_json

_BATCH = 32
_RECORD = ".unfinished.json"    # while samples are missing: what they are made with, and how many batches are done
_MANY = 200                     # samples from which on progress is shown


class Form(NamedTuple):
    """The files of a sample.

    Args:
        suffixes: of the files.
        write: writes them, from the path without a suffix, a sample [...] and its picture, uint8 [H, W, C].
        shown: pictures, uint8 [n, H, W, C], of samples [n, ...].
    """

    suffixes: tuple[str, ...]
    write: Callable[[Path, Tensor, np.ndarray], None]
    shown: Callable[[Tensor], np.ndarray]


#: Samples [n, C, H, W] in [-1, 1].
IMAGES = Form((".png",), lambda stem, image, picture: grids.save_pixels(stem.with_suffix(".png"), picture),
              grids.pixels_of)


def sample_path(folder: Path, seed: int, suffix: str = ".png", what: str = "seed") -> Path:
    """Where `write_samples` writes a file of the sample of a seed."""
    return folder / f"{what}{seed:06d}{suffix}"


def write_samples(folder: Path, seeds: Sequence[int], draw: Callable[[slice], Tensor], made_with: Any,
                  columns: int, form: Form = IMAGES, what: str = "seed") -> int:
    """Writes `seed<number>.png`, or other files, for each seed, batch by batch, and `grid.png`. Returns how many
    samples the grid has.

    If an earlier call with the same seeds and the same `made_with` was interrupted, its batches are kept. Batches are
    always the same, so that the pictures are too.

    Args:
        draw: samples [n, ...] of `seeds[part]`.
        made_with: everything else that the samples depend on, as JSON; compared with that of the earlier call.
        columns: of the grid.
        form: the files of a sample.
        what: the numbers count, if not seeds.
    """
    record, made_with = folder / _RECORD, [made_with, list(seeds)]
    found = or_none(lambda: read_json(record)) or {}
    batches = found.get("batches") if found.get("made_with") == made_with else 0
    done, shown, first = batches if isinstance(batches, int) else 0, len(seeds), []
    with Bar("sampling", len(seeds)) if len(seeds) >= _MANY else nullcontext() as bar:
        for number, start in enumerate(range(0, len(seeds), _BATCH)):
            part = slice(start, start + _BATCH)
            stems = [sample_path(folder, seed, "", what) for seed in seeds[part]]
            paths = [stem.with_suffix(suffix) for stem in stems for suffix in form.suffixes]
            if start >= shown and number < done and all(path.is_file() for path in paths):
                continue
            samples = draw(part)
            pixels = form.shown(samples)
            shown, columns = grids.fitting(len(seeds), columns, *pixels.shape[1:3])
            if start < shown:
                first.append(pixels[: shown - start])
            folder.mkdir(parents=True, exist_ok=True)
            for stem, sample, picture in zip(stems, samples, pixels):
                form.write(stem, sample, picture)
            write_whole(record, json.dumps({"made_with": made_with, "batches": max(done, number + 1)}))
            if bar:
                bar.advance(len(stems))
    grids.save_sheet(folder / "grid.png", np.concatenate(first), columns)
    record.unlink()
    return shown
