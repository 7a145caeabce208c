"""Keys in the code blocks of the documentation can be pasted into a shell: the values with spaces are quoted."""

import re
from pathlib import Path

import pytest
from harness import ROOT
from omegaconf import OmegaConf

from scalegan.config import loading

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"```(?:bash)?\n(.*?)```|((?:^    .*\n)+)", re.MULTILINE | re.DOTALL)


def arguments(page: Path) -> list[str]:
    """The words of a page's code blocks that begin like key={ or key=[, as a shell would split them."""
    code = "".join("".join(block) for block in BLOCK.findall(page.read_text()))
    words = [word.strip("'") for word in re.findall(r"(?<!\S)(?:'[^'\n]*'|\S+)", code)]
    return [word for word in words if re.match(r"[\w.]+=[{\[]", word)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_values_with_spaces_are_quoted(page: Path) -> None:
    for argument in arguments(page):
        assert argument.count("{") == argument.count("}") and argument.count("[") == argument.count("]"), argument
        OmegaConf.from_dotlist([argument])


def test_the_examples_of_augmentation_are_accepted() -> None:
    found = [argument for argument in arguments(ROOT / "docs" / "training.md") if argument.startswith("augment=")]
    assert len(found) == 5
    for argument in found:
        loading.load(["recipe=quickstart", argument])
