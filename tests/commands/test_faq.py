"""docs/faq.md: every key that it names exists, and its Python runs (tests/documentation has its commands)."""

import re
from pathlib import Path
from typing import Any

import pytest
from harness import ROOT
from small_games import exported

from scalegan.config import loading
from scalegan.data.spec import Spec
from scalegan.errors import RecipeError

PAGE = (ROOT / "docs" / "faq.md").read_text()


def test_the_generator_works_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's Python, on an export of the networks that its runs have."""
    block, = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    keys = {"model": {"name": "dcgan", "width": 4, "norm_group": 4}}
    exported(keys, tmp_path / "photos.safetensors", Spec("image", (3, 64, 64)))
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}
    exec(block, found)
    assert f"# {list(found['images'].shape)}," in block


def refusal(arguments: list[str]) -> str:
    """Why these arguments are refused; empty if they are not."""
    try:
        loading.load(arguments)
    except RecipeError as error:
        return str(error)
    return ""


# recipe=auto is not a file; its command runs above.
@pytest.mark.parametrize("argument", sorted({*re.findall(r"`([a-z_]+(?:\.\w+)*=[^`\s]+)`", PAGE)} - {"recipe=auto"}))
def test_every_key_of_the_text_exists(argument: str) -> None:
    recipes = [argument] if argument.startswith("recipe=") else [f"recipe=celeba_{f}" for f in ("dcgan", "stylegan2")]
    assert "" in [refusal(list(dict.fromkeys([recipe, "data.path=photos", argument]))) for recipe in recipes]

