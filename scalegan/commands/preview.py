"""Shows what augmentation does to images of a dataset, before any training.

The picture has a row for each of eight images: the image itself, then what D may see of it in several draws. If p of
ADA is adaptive and starts at 0, as by default, the draws are at several values of p. data.path is a prepared set, or a
folder or zip of images. With recipe=NAME, the recipe's augmentation and data are used; keys override it as in training.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from scalegan.config import Data, Recipe, loading
from scalegan.errors import RecipeError
from scalegan.support.arguments import file_named, verb_parser
from scalegan.training import automatic

if TYPE_CHECKING:
    from torch import Tensor

_ROWS = 8
# Where no recipe is named: a family that takes any resolution, as networks play no part.
BASE = {"run_dir": "runs/preview", "total_images": 1, "batch_size": 1, "lanes": 1, "model": {"name": "mlp"}}


def main(arguments: list[str]) -> int:
    options = _parser().parse_intermixed_args(arguments)
    recipe = _recipe(options.words)
    if recipe.data.backend == "points":
        raise RecipeError("data.backend=points makes 2-D points, of which there is no picture; name a set of images")
    recipe = replace(recipe, data=_found(recipe.data, options.words))

    from scalegan.pictures import augmentations, grids

    shown = augmentations.strengths(recipe)
    if not shown:
        raise RecipeError("augment.p=0 leaves images unchanged; raise it" if recipe.augment.name == "ada" else
                          "augment.name=none leaves images unchanged; set augment.name=ada or augment.name=diffaugment")
    columns = augmentations.columns(_images(recipe), shown, recipe.seed)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    grids.save_columns(options.out, columns)
    if getattr(recipe.augment, "target", None) is not None:
        print(f"in training, p starts at {recipe.augment.p:g} and rises or falls with D's overfitting")
    print(options.out.resolve())
    return 0


def _recipe(words: list[str]) -> Recipe:
    if f"recipe={automatic.NAME}" not in words:
        return loading.load(words, BASE)
    recipe = automatic.load(words)
    path = [word.partition("=")[2] for word in words if word.startswith("data.path=")]
    return replace(recipe, data=replace(recipe.data, path=path[-1])) if path else recipe    # not prepared yet


def _parser() -> argparse.ArgumentParser:
    parser = verb_parser("preview", __doc__,
                         "preview data.path=photos augment.name=ada",
                         "preview data.path=photos.zip augment.name=ada augment.p=0.3 augment.pipe=bgcfnc",
                         "preview recipe=celeba_r3gan data.path=data/celeba_64 --out pictures/augmented.png")
    parser.add_argument("words", nargs="+", metavar="key=value", help="recipe=NAME, if any, and keys such as data.path "
                        "and augment.name (`scalegan train --help augment` lists them)")
    parser.add_argument("--out", type=file_named("--out", ".png"), default=Path("preview.png"),
                        help="picture to write (default: preview.png)")
    return parser


def _found(data: Data, words: list[str]) -> Data:
    """The settings of the data, with the backend that its files need, and their size where nothing else is said."""
    from scalegan.data.manifest import Manifest
    from scalegan.data.opening import data_folder, expanded
    from scalegan.data.preparing.embedded import is_embedded
    from scalegan.data.preparing.sources import USUAL, guess_kind
    from scalegan.data.reading.cache import is_url

    free = not any(word.startswith(("recipe=", "data.resolution=")) for word in words)
    if is_embedded(data.path):
        return replace(data, resolution=32) if free else data
    if is_url(expanded(data.path)):
        return data
    path = data_folder(data.path, data.resolution)
    if not path.exists():
        raise RecipeError(f"data.path={data.path} does not exist; name a prepared set, or a folder or zip of images")
    if (path / "manifest.json").is_file():
        image = Manifest.load(path).image
        if image.kind == "latent":
            raise RecipeError(f"data.path={data.path} holds latents, and the picture is of augmented images; name the "
                              "images that they were made of")
        return replace(data, resolution=image.resolution) if free else data
    if data.backend == "webdataset":
        data = replace(data, backend="folder")
        return replace(data, resolution=USUAL[guess_kind(path)].resolution) if free else data
    return data


def _images(recipe: Recipe) -> "Tensor":
    """Some images [N, C, H, W] of the set in [-1, 1], spread evenly over it."""
    import numpy as np

    from scalegan.data.opening import open_records
    from scalegan.data.pixels import from_levels
    from scalegan.data.preparing.embedded import is_embedded, make_embedded
    from scalegan.data.reading.record_reader import as_samples
    from scalegan.engines.ranks import join

    if is_embedded(recipe.data.path):
        make_embedded(recipe.data, join())
    reader = open_records(recipe)
    if reader.manifest.image.kind == "volume":
        raise RecipeError(f"data.path={recipe.data.path} holds volumes, and augmentation is for images; name a set of "
                          "images")
    records = sum(reader.sizes)
    chosen = np.unique(np.linspace(0, records - 1, min(_ROWS, records)).astype(np.int64))
    stored = np.empty(len(chosen), reader.sample)
    reader.read(stored, chosen)
    return from_levels(as_samples(stored))
