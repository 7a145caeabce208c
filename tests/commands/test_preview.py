"""The picture of what augmentation does."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sources_made import write_folder, write_zip

from scalegan.commands import preview
from scalegan.config import loading
from scalegan.errors import RecipeError
from scalegan.pictures.augmentations import columns, strengths

SIDE, CELL = 16, 96 + 2     # of the images, and of a cell of the picture with its margin
CASES = {
    "ADA whose p adapts is shown at several p":
        (["augment.name=ada"], ["p = 0.2", "p = 0.4", "p = 0.6", "p = 0.8"], 8),
    "a given p is the only one": (["augment.name=ada", "augment.p=0.3"], ["p = 0.3"], 8),
    "a schedule is shown along its images":
        (["augment={name: ada, target: null, p: {start: 0, end: 0.4, images: 100, kind: linear}}"],
         ["p = 0.1", "p = 0.2", "p = 0.3", "p = 0.4"], 8),
    "steps are shown each":
        (["augment={name: ada, target: null, p: {kind: step, start: 0.1, steps: {5: 0.2, 9: 0.5}}}"],
         ["p = 0.1", "p = 0.2", "p = 0.5"], 6),
    "DiffAugment has one strength": (["augment.name=diffaugment"], [""], 8),
    "instance noise alone": (["game.tricks.instance_noise=0.1"], ["noise = 0.1"], 8),
    "ADA with noise": (["augment.name=ada", "augment.p=0.3", "game.tricks.instance_noise=0.1"],
                       ["p = 0.3, noise = 0.1"], 8),
}


def recipe_of(*words: str):
    return loading.load(["data.path=x", *words], preview.BASE)


@pytest.mark.parametrize("case", CASES)
def test_every_strength_of_a_run_has_columns(case: str) -> None:
    words, labels, draws = CASES[case]
    shown = strengths(recipe_of(*words))
    assert [each.label for each in shown] == labels
    images = torch.rand(5, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    drawn = columns(images, shown, seed=0)
    untouched, *augmented = drawn.values()
    assert torch.equal(untouched[..., ::96 // SIDE, ::96 // SIDE], images)
    assert len(augmented) == draws and all(one.shape == untouched.shape for one in augmented)
    assert all(not torch.equal(one, untouched) for one in augmented)
    assert len({one.numpy().tobytes() for one in augmented}) == draws     # no two alike
    assert all(torch.equal(one, other) for one, other in zip(drawn.values(), columns(images, shown, seed=0).values()))


def test_a_higher_p_changes_more_images() -> None:
    images = torch.rand(64, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    shown = strengths(recipe_of("augment.name=ada"))
    drawn = columns(images, shown, seed=0)
    changed = [(drawn[f"{one.label}, draw 1"] != drawn["untouched"]).flatten(1).any(1).sum() for one in shown]
    assert len(images) / 2 < changed[0] < changed[-1] == len(images)


def test_large_images_are_shown_at_a_size_that_fits() -> None:
    drawn = columns(torch.zeros(2, 1, 512, 512), strengths(recipe_of("augment.name=diffaugment")), seed=0)
    assert {one.shape for one in drawn.values()} == {(2, 1, 256, 256)}


@pytest.fixture(scope="module")
def sets(tiny_set: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same kind of images in each form that training takes."""
    root = tmp_path_factory.mktemp("photos")
    folder = write_folder(root / "photos", {"cat": 5, "dog": 6})
    files = {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*.jpg")}
    return {"a prepared set": tiny_set, "a folder": folder, "a zip": write_zip(root / "photos.zip", files)}


@pytest.mark.parametrize(("form", "words", "cell"), [
    ("a prepared set", (), CELL), ("a folder", ("data.resolution=16",), CELL), ("a zip", ("data.resolution=16",), CELL),
    ("a folder", (), 128 + 2), ("a zip", ("recipe=quickstart", "data.labels=none", "data.resolution=16"), CELL),
], ids=["a prepared set at its own resolution", "a folder", "a zip", "a folder at the usual resolution",
        "a zip in place of a recipe's data"])
def test_data_are_taken_as_training_takes_them(form: str, words: tuple[str, ...], cell: int, sets: dict[str, Path],
                                               tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "deep" / "augmented.png"
    assert preview.main([*words, f"data.path={sets[form]}", "--out", str(out), "augment.name=ada"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(out)
    picture = np.asarray(Image.open(out))
    assert picture.shape[:2] == (12 + 8 * cell + 2, 9 * cell + 2)
    untouched = picture[14 : 12 + cell, 2 : cell]
    assert untouched.std() > 1      # an image of the set, not an empty cell


@pytest.mark.parametrize(("words", "says"), [
    (["augment.name=ada"], "data.path is not given"),
    (["data.path=/nowhere", "augment.name=ada"], "/nowhere does not exist"),
    (["data.path=embedded:mnist"], "augment.name=none leaves images unchanged; set augment.name=ada"),
    (["data.path=embedded:mnist", "augment={name: ada, target: null}"], "augment.p=0 leaves images unchanged"),
    (["data.path=embedded:mnist", "augment.name=adda"], "did you mean 'ada'"),
    (["recipe=toy_lecture"], "2-D points, of which there is no picture"),
    (["recipe=quickstart", "recipe=infogan_mnist", "augment.name=ada"], "say which recipe"),
], ids=["no data", "no such data", "no augmentation", "a p of 0", "a misspelt augmentation", "points", "two recipes"])
def test_a_mistake_names_its_remedy(words: list[str], says: str, tmp_path: Path,
                                    monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError) as error:
        preview.main(words)
    assert says in str(error.value) and "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())
