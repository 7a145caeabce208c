"""Volumes: connected bodies, the letters that come embedded, their records, and images-only code that meets them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from scalegan.commands import preview
from scalegan.config import Data, Recipe, loading
from scalegan.data import opening, voxels
from scalegan.data.manifest import ImageFormat, load_set
from scalegan.data.pixels import from_levels
from scalegan.data.preparing import embedded, facts, glyphs
from scalegan.data.reading.record_reader import as_samples
from scalegan.data.reading.stream import StoredBatch
from scalegan.engines.ranks import Ranks
from scalegan.errors import RecipeError, UserError
from scalegan.metrics.images import StoredImages, open_images
from scalegan.training import build
from scalegan.training.batch_loader import BatchLoader, StreamSettings

ALONE = Ranks(0, 1, torch.device("cpu"))


# --- grids ----------------------------------------------------------------------------------------------------------

def grid(*filled: tuple[int, int, int], side: int = 4) -> np.ndarray:
    found = np.zeros((side, side, side), bool)
    for place in filled:
        found[place] = True
    return found


SNAKE = [(0, 0, 0), (0, 0, 1), (0, 0, 2), (0, 1, 2), (1, 1, 2), (1, 1, 1), (1, 1, 0), (2, 1, 0), (2, 0, 0), (3, 0, 0)]
SHAPES = {
    "nothing has no body": (grid(), 0),
    "a winding line is one": (grid(*SNAKE), 1),
    "voxels that share an edge alone are two": (grid((0, 0, 0), (0, 1, 1)), 2),
    "opposite sides of the grid do not touch": (grid((0, 0, 0), (3, 0, 0), (0, 3, 0), (0, 0, 3)), 4),
    "a cube in a hollow one is two": (np.pad(np.pad(np.ones((1, 1, 1), bool), 1), 1, constant_values=True), 2),
}


@pytest.mark.parametrize("name", SHAPES)
def test_bodies_are_counted(name: str) -> None:
    shape, count = SHAPES[name]
    turned = np.stack([np.rot90(shape, turns, axes) for turns in range(4) for axes in ((0, 1), (1, 2), (0, 2))])
    assert voxels.bodies(turned).tolist() == [count] * 12


def test_a_closed_surface_is_filled_and_an_open_one_stays_hollow() -> None:
    closed = np.pad(np.zeros((3, 3, 3), bool), 1, constant_values=True)
    opened = closed.copy()
    opened[0, 2, 2] = False
    assert voxels.solid(closed).all() and (voxels.solid(opened) == opened).all()
    assert (voxels.solid(voxels.solid(closed)) == voxels.solid(closed)).all()


@pytest.mark.parametrize("shape, side, size, factor", [((4, 4, 4), 4, 4, 1), ((2, 4, 3), 8, 8, 2),
                                                       ((30, 30, 30), 64, 60, 2), ((30, 30, 30), 16, 16, 1 / 2),
                                                       ((5, 8, 8), 4, 4, 1 / 2)],
                         ids=["as it is", "enlarged twice", "the largest factor that fits", "averaged over blocks",
                              "averaged, shorter in one direction"])
def test_a_grid_is_fitted_into_a_cube(shape: tuple, side: int, size: int, factor: float) -> None:
    found = voxels.fitted(np.ones(shape), side)
    extent = [np.flatnonzero(found.any(tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    assert found.shape == (side,) * 3 and max(len(one) for one in extent) == size
    assert found.sum() == pytest.approx(np.prod(shape) * factor**3)      # nothing is lost
    for one in extent:
        assert abs(one[0] - (side - 1 - one[-1])) <= 1                                  # in the middle


# --- the embedded letters -------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def letters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folders of the set and of its parts, at 16 voxels and with two variants of each letter."""
    pytest.importorskip("matplotlib")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCALEGAN_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(glyphs, "VARIANTS", 2)
        for name in ("glyphs", "glyphs_train", "glyphs_test"):
            embedded.make_embedded(Data(path=f"embedded:{name}", resolution=16), ALONE)
        return {name: embedded.folder_of(f"embedded:{name}", 16) for name in ("glyphs", "glyphs_train", "glyphs_test")}


@pytest.mark.slow
def test_every_letter_is_one_body_of_its_own_and_tests_are_of_other_fonts(letters: dict[str, Path]) -> None:
    digests, counts = {}, {}
    for name, folder in letters.items():
        index = load_set(folder)[1]
        digests[name], counts[name] = set(index.digests.tolist()), np.bincount(index.labels).tolist()
    assert counts == {"glyphs": [40] * 10, "glyphs_train": [32] * 10, "glyphs_test": [8] * 10}
    assert digests["glyphs_train"] | digests["glyphs_test"] == digests["glyphs"]
    assert not digests["glyphs_train"] & digests["glyphs_test"] and len(digests["glyphs"]) == 400
    images = StoredImages(letters["glyphs_test"], "volume")
    stored = np.stack([images.read(number) for number in range(len(images))])
    assert stored.shape == (80, 1, 16, 16, 16) and set(np.unique(stored)) == {0, 255}
    assert (voxels.bodies(stored[:, 0] > 0) == 1).all()
    plates = stored[:, 0].max(1)
    assert (stored[:, 0] == plates[:, None] * (stored[:, 0].max((2, 3), keepdims=True) > 0)).all()  # equal all through


@pytest.mark.slow
def test_a_run_reads_volumes_as_shares_from_0_to_1(letters: dict[str, Path]) -> None:
    recipe = recipe_of("gan3d", letters["glyphs"])
    source = opening.open_sources(recipe)["real"]
    assert (source.spec.kind, source.spec.shape, source.conditions) == ("volume", (1, 16, 16, 16), None)
    stored, labels = source.records.chunk(0, 0)
    assert stored.shape == (4, 1, 16, 16, 16) and stored.dtype == torch.uint8 and labels.max() < 10
    assert sorted(from_levels(stored).unique().tolist()) == [0, 1]
    with pytest.raises(RecipeError, match=r"says 16 voxels; set data\.resolution=16"):
        opening.open_sources(recipe_of("gan3d", letters["glyphs"], resolution=32))


def recipe_of(game: str, path: Path, **data: object) -> Recipe:
    return loading.parse({"run_dir": "-", "total_images": 1, "batch_size": 16, "lanes": 4, "game": {"name": game},
                          "data": {"path": str(path), "resolution": 16, **data}}, "test")


def test_volumes_are_mirrored_left_to_right() -> None:
    stored = torch.arange(64 * 8).view(64, 1, 2, 2, 2).clamp(max=255).to(torch.uint8)
    loader = BatchLoader(0, 0, 64, 0, torch.device("cpu"), {"real": StreamSettings(flip=True)})
    seen = loader.prepare({"real": StoredBatch(0, stored, None)})["real"].data
    plain, mirrored = from_levels(stored), from_levels(stored.flip(4))
    same, turned = (seen == plain).flatten(1).all(1), (seen == mirrored).flatten(1).all(1)
    assert (same | turned).all() and (same & ~turned).any() and (turned & ~same).any()


def test_the_format_of_images_says_nothing_of_volumes() -> None:
    """So that sets of images keep their content hashes."""
    assert set(ImageFormat(8, 3, "png").tree()) == {"size", "channels", "encoding", "quality", "crop", "filter"}
    assert ImageFormat(8, 1, "raw", kind="volume").tree()["kind"] == "volume"
    assert as_samples(np.zeros((2, 1, 4, 4, 4), np.uint8)).shape == (2, 1, 4, 4, 4)


# --- what is for images ---------------------------------------------------------------------------------------------

@pytest.mark.slow
def test_images_only_code_refuses_volumes_in_one_line(letters: dict[str, Path], tmp_path: Path) -> None:
    folder = letters["glyphs"]
    attempts = {
        "an image game": (lambda: build.game(recipe_of("gan", folder), specs_of(folder)), "set game.name=gan3d"),
        "evaluation": (lambda: open_images(str(folder)), "holds volumes, not images"),
        "recipe=auto": (lambda: facts.look(folder, "auto"), "use recipe=gan3d_glyphs"),
        "augmentation": (lambda: preview.main([f"data.path={folder}", "augment.name=ada", "--out",
                                               str(tmp_path / "preview.png")]), "augmentation is for images"),
    }
    for name, (attempt, message) in attempts.items():
        with pytest.raises(UserError) as refusal:
            attempt()
        assert message in str(refusal.value) and "\n" not in str(refusal.value), name


def specs_of(folder: Path) -> dict:
    return {"real": opening.open_sources(recipe_of("gan3d", folder))["real"].spec}
