"""How metrics react to known damage: `python tools/sensitivity.py IMAGES [--count N] [--reals N]`.

IMAGES is a folder or zip with a sub-folder per class, such as CIFAR-10's train/<class>/. --reals of its images serve as
the real images; others serve as samples: blurred, noisy, from fewer classes, or with fewer distinct images. Prints a
table.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np
import torch
from PIL import Image, ImageFilter

from scalegan.cli import run_verb
from scalegan.data.picture import read_picture
from scalegan.data.preparing.sources import guess_kind, open_source
from scalegan.engines.ranks import Ranks
from scalegan.metrics import extractors, figures
from scalegan.metrics.features import SetFeatures, collect
from scalegan.metrics.gaussian import Moments
from scalegan.metrics.images import FileImages

ASKED = ("fid", "kid", "prc", "prdc")
SHOWN = ("fid", "kid", "precision", "recall", "density", "coverage")
DISTINCT = (250, 100, 25)
CLASSES = (8, 5, 3)
SUBSETS = 10            # random choices of classes to average over


def blurred(radius: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda pixels: np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)))


def noisy(deviation: float) -> Callable[[np.ndarray], np.ndarray]:
    def add(pixels: np.ndarray) -> np.ndarray:
        generator = np.random.Generator(np.random.Philox(key=int(pixels.astype(np.int64).sum())))
        return (pixels + generator.normal(0, deviation, pixels.shape)).round().clip(0, 255).astype(np.uint8)
    return add


DAMAGES = {f"blur, radius {radius:g} px": blurred(radius) for radius in (0.5, 1, 2)} \
    | {f"noise, s = {deviation}": noisy(deviation) for deviation in (8, 16, 32)}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("--count", type=int, default=500, help="samples (default 500)")
    parser.add_argument("--reals", type=int, default=1500, help="real images (default 1500)")
    parser.add_argument("--extractor", default="efflite0")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    extractor = extractors.load(options.extractor, None, None, torch.device("cpu"))
    pool = 4 * options.count
    with tempfile.TemporaryDirectory() as scratch:
        table = _drawn(options.images, options.reals + pool)

        def features(folder: Path, damage: Callable[[np.ndarray], np.ndarray] | None, count: int) -> SetFeatures:
            source = FileImages(folder)
            if damage is not None:
                read = source.read
                source.read = lambda number: damage(read(number))
            one = collect(source, np.arange(count), extractor, Ranks(0, 1, torch.device("cpu")), 16, True)
            print(f"{folder.name}: {count} images", file=sys.stderr, flush=True)
            return one

        folders = [Path(scratch) / name for name in ("reals", "samples")]
        for number, (pixels, _) in enumerate(table):
            folder = folders[number >= options.reals]
            folder.mkdir(exist_ok=True)
            Image.fromarray(pixels).save(folder / f"{number:06d}.png")
        classes = np.array([label for _, label in table[options.reals:]])
        reals, clean = features(folders[0], None, options.reals), features(folders[1], None, pool)
        rows = {"none": [_part(clean, np.arange(options.count))]}
        for count in CLASSES:
            rows[f"{count} of {classes.max() + 1} classes"] = [
                _part(clean, np.flatnonzero(np.isin(classes, kept))[: options.count])
                for kept in _subsets(classes.max() + 1, count)]
        for count in DISTINCT:
            rows[f"{count} distinct images"] = [_part(clean, np.arange(options.count) % count)]
        rows |= {name: [features(folders[1], damage, options.count)] for name, damage in DAMAGES.items()}
        print(f"| damage | {' | '.join(SHOWN).replace('fid', 'fd')} |\n|" + " --- |" * (1 + len(SHOWN)))
        for name, row in rows.items():
            found = [figures.of_features(ASKED, part, reals, options.count) for part in row]
            means = (np.mean([one[key] for one in found]) for key in SHOWN)
            print(f"| {name} | " + " | ".join(f"{mean:.4g}" for mean in means) + " |", flush=True)
    return 0


def _drawn(path: Path, count: int) -> list[tuple[np.ndarray, int]]:
    """`count` random images with their classes."""
    source = open_source(guess_kind(path), [path])
    if source.table is None or source.table.ndim != 1 or len(source) < count:
        raise SystemExit(f"{path} needs at least {count} images, in one sub-folder per class; lower --count or --reals")
    chosen = np.random.Generator(np.random.Philox(key=1)).permutation(len(source))[:count]
    found = []
    for number in chosen.tolist():
        picture = source.entry(number).read()
        pixels = read_picture(picture) if isinstance(picture, bytes) else picture
        found.append((pixels, int(source.table[number])))
    return found


def _subsets(classes: int, count: int) -> list[np.ndarray]:
    """Random choices of `count` classes: which ones are left out matters as much as how many."""
    generator = np.random.Generator(np.random.Philox(key=2))
    return [generator.permutation(classes)[:count] for _ in range(SUBSETS)]


def _part(one: SetFeatures, rows: np.ndarray) -> SetFeatures:
    vectors = one.vectors[torch.from_numpy(rows)]
    return SetFeatures(Moments.of(vectors), vectors, None, rows)


if __name__ == "__main__":
    sys.exit(run_verb(main, sys.argv[1:]))
