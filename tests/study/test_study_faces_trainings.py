"""The attributes, sets and recipes of the trainings of `scalegan study faces`."""

from pathlib import Path

import numpy as np
import pytest
from faces_made import NAMES, labels_of, make_faces

from scalegan.config.loading import load
from scalegan.errors import UserError
from scalegan.metrics.images import open_images
from scalegan.study.faces.attributes import chosen, remark
from scalegan.study.faces.splitting import split
from scalegan.study.faces.trainings import trainings

SIX = ("Bangs", "Eyeglasses", "Receding_Hairline", "Smiling", "Male", "Young")


def test_an_attribute_that_is_too_rare_is_replaced_by_the_nearest_and_that_is_said() -> None:
    assert chosen(labels_of(60), NAMES, "x") == SIX
    assert remark(SIX).startswith("Receding_Hairline in place of Bald,") and "none" in remark(("Bangs",))
    common = labels_of(60)
    common[:, NAMES.index("Bald")] = common[:, 0]
    assert chosen(common, NAMES, "x")[2] == "Bald"


def test_a_set_without_such_attributes_is_named() -> None:
    with pytest.raises(UserError, match=r"^faces has no attribute Eyeglasses or Wearing_Hat"):
        chosen(labels_of(60), ["Other" if name == "Eyeglasses" else name for name in NAMES], "faces")


def test_a_set_is_split_into_photos_without_and_with_an_attribute_bytes_unchanged(tmp_path: Path) -> None:
    whole = open_images(str(make_faces(tmp_path / "whole", 30)))
    has = whole.labels[:, NAMES.index("Male")] == 1
    parts = split(whole, "Male", tmp_path / "parts")
    for part, numbers in zip(parts, (np.flatnonzero(~has), np.flatnonzero(has))):
        found = open_images(str(part))
        assert found.labels is None
        assert list(found.reader.stored(np.arange(len(found)))) == list(whole.reader.stored(numbers))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "parts").rglob("*")}
    assert split(whole, "Male", tmp_path / "parts") == parts
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "parts").rglob("*")} == before
    other = open_images(str(make_faces(tmp_path / "other", 31)))
    with pytest.raises(UserError, match="use another --out"):
        split(other, "Male", tmp_path / "parts")


@pytest.mark.parametrize("resolution", [32, 64, 128])
@pytest.mark.parametrize("name", trainings(SIX, 1000))
def test_every_training_is_a_sound_recipe(name: str, resolution: int) -> None:
    training = trainings(SIX, 1000)[name]
    further = ["streams.B.path=b"] if training.between else []
    recipe = load([f"recipe={training.recipe}", *training.keys, "data.path=a", *further, "run_dir=r",
                   f"data.resolution={resolution}"])
    assert recipe.data.resolution == resolution
