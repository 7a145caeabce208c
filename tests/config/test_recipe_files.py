"""Recipes and profiles as files: what is no recipe is said in one line, however the file came to be that way."""

import os
from pathlib import Path

import pytest
from harness import ROOT

from scalegan.cluster import profiles
from scalegan.config import catalogue, loading
from scalegan.errors import RecipeError
from scalegan.support.reading import DamagedFile
from scalegan.support.yaml_files import read_keys

GROWING = "a: &a [x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 8)}]\n" for before, name in zip("abcdefgh", "bcdefghi"))
CHAIN = "a: &a0 [x]\n" + "".join(f"b{i}: &a{i + 1} [*a{i}]\n" for i in range(100))

LINES = "must consist of `key: value` lines"
WRONG = {
    "bytes that are not UTF-8": (b"seed: \xff\n", "not UTF-8 text (byte 6)"),
    "nothing": (b"", LINES), "a comment": (b"# seed\n", LINES),
    "a number": (b"1e400\n", LINES), "a list": (b"[seed]\n", LINES),
    "lists 10,000 deep": (b"seed: " + b"[" * 10_000 + b"]" * 10_000, "nested more than 30 deep"),
    "lists that are deep through aliases": (CHAIN.encode(), "nested more than 30 deep"),
    "aliases that unfold to a hundred million values": (GROWING.encode(), "unfolds to more than 20,000 values"),
    "an alias inside what it stands for": (b"data: &a {path: *a}\n", "*a stands inside &a"),
    "5,000 digits": (b"seed: " + b"9" * 5000, "cannot read"),
    "a Python object": (b"seed: !!python/name:os\n", "cannot read"),
    "a megabyte": (b"#" * (1 << 20), "larger than"), "a key twice": (b"seed: 1\nseed: 2\n", "duplicate key"),
    "extends a number": (b"extends: 3\n", "extends: should be the name of a recipe, or a list of names"),
    "extends a mapping": (b"extends: {dcgan: 1}\n", "extends: should be the name"),
    "extends lists": (b"extends: [[_base/dcgan]]\n", "extends: should be the name"),
    "extends nothing": (b"extends: ''\n", "extends: should be the name"),
    "extends what is not there": (b"extends: nowhere\n", "extends 'nowhere', but there is no such recipe"),
    "extends a name of 5,000 letters": (b"extends: " + b"x" * 5000, "there is no such recipe"),
    "extends itself": (b"extends: wrong\n", "wrong.yaml: extends 'wrong', which extends it in turn"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_file_that_is_no_recipe(case: str, tmp_path: Path) -> None:
    content, words = WRONG[case]
    (tmp_path / "wrong.yaml").write_bytes(content)
    with pytest.raises(RecipeError) as error:
        loading.load([f"recipe={tmp_path / 'wrong.yaml'}"])
    assert words in str(error.value) and "wrong.yaml" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("case", [case for case in WRONG if not case.startswith("extends")])
def test_a_file_that_is_no_profile(case: str, tmp_path: Path) -> None:
    content, words = WRONG[case]
    (tmp_path / "wrong.yaml").write_bytes(content)
    with pytest.raises(RecipeError) as error:
        profiles.load(str(tmp_path / "wrong.yaml"), [])
    assert words in str(error.value) and "wrong.yaml" in str(error.value) and "\n" not in str(error.value)


def test_recipes_that_extend_each_other_in_a_circle(tmp_path: Path) -> None:
    for name, parent in (("a", "b"), ("b", "c"), ("c", "a")):
        (tmp_path / f"{name}.yaml").write_text(f"extends: {parent}\n")
    with pytest.raises(RecipeError, match=r"c\.yaml: extends 'a', which extends it in turn"):
        loading.load([f"recipe={tmp_path / 'a.yaml'}"])


def test_recipes_whose_parents_double_at_every_step(tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / f"r{number}.yaml").write_text(f"extends: [r{number + 1}, r{number + 1}]\n")
    (tmp_path / "r40.yaml").write_text("seed: 1\n")
    with pytest.raises(RecipeError, match="more than 100 files are read by `extends`"):
        loading.load([f"recipe={tmp_path / 'r0.yaml'}"])


def test_a_parent_may_be_shared_and_aliases_are_unfolded(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(f"extends: {ROOT / 'recipes' / 'quickstart'}\nseed: 4\n")
    for name in ("left", "right"):
        (tmp_path / f"{name}.yaml").write_text("extends: base\n")
    (tmp_path / "both.yaml").write_text("extends: [left, right]\noptimizer:\n  G: &same {lr: 0.01}\n  D: *same\n")
    recipe = loading.load([f"recipe={tmp_path / 'both.yaml'}"])
    assert recipe.seed == 4 and recipe.optimizer["G"].lr == recipe.optimizer["D"].lr == 0.01


def test_every_shipped_recipe_is_far_below_the_bounds() -> None:
    for path in (ROOT / "recipes").rglob("*.yaml"):
        assert read_keys(path)


def test_pipes_are_not_waited_for_and_the_list_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe")
    (tmp_path / "good.yaml").write_text("# A good one\nseed: 1\n")
    monkeypatch.setenv("SCALEGAN_RECIPES", str(tmp_path))
    with pytest.raises(DamagedFile, match="not a regular file"):
        read_keys(tmp_path / "pipe.yaml")
    listed = catalogue.available()
    assert listed["good"] == "A good one" and listed["binary"] == "(cannot be read)" and "pipe" not in listed
