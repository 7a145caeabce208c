"""The page of installation, the Dockerfile and the Apptainer definition name extras and files that exist."""

import re
import shlex
from pathlib import Path

import pytest
from harness import ROOT


def extras() -> dict[str, list[str]]:
    """Those of setup.py, without setting anything up."""
    found: dict[str, object] = {}
    source = (ROOT / "setup.py").read_text()
    exec(source[source.index("EXTRAS = {"):source.index("\nsetup(")], found)
    return found["EXTRAS"]


def page() -> str:
    return (ROOT / "docs" / "install.md").read_text()


def test_the_page_lists_every_extra_and_no_other() -> None:
    assert re.findall(r"^\| `([\w-]+)` \|", page(), re.MULTILINE) == list(extras())


def test_extras_named_on_the_page_and_in_containers_exist() -> None:
    named = re.findall(r"'(?:scalegan|\.)\[([\w,-]+)\]'|EXTRAS=([\w,-]+)|extras=([\w,-]+)", page()
                       + (ROOT / "Dockerfile").read_text() + (ROOT / "containers" / "scalegan.def").read_text()
                       + (ROOT / "README.md").read_text() + (ROOT / "docs" / "sharing.md").read_text())
    names = {name for groups in named for group in groups for name in group.split(",") if name}
    assert {"metrics", "video", "hub", "slurm"} <= names - {"NAME"} <= extras().keys()


def test_trackers_that_nobody_asked_for_are_in_no_extra_that_takes_all() -> None:
    for extra in ("all", "all-but-ffcv"):
        assert not [each for each in extras()[extra] if re.match("mlflow|wandb|trackio", each)]
        assert {"av>=14", "huggingface_hub>=0.30"} <= set(extras()[extra])


def copied() -> dict[str, set[str]]:
    """The files and folders that each container takes from the checkout."""
    docker, definition = (ROOT / "Dockerfile").read_text(), (ROOT / "containers" / "scalegan.def").read_text()
    lines = [shlex.split(line)[1:-1] for line in docker.splitlines() if line.startswith("COPY ")]
    section = definition.split("%files\n")[1].split("\n\n")[0]
    return {"Dockerfile": {name for line in lines for name in line},
            "scalegan.def": {line.split()[0] for line in section.splitlines()}}


@pytest.mark.parametrize("container", ["Dockerfile", "scalegan.def"])
def test_containers_take_all_that_the_package_is_made_of(container: str) -> None:
    found = copied()[container]
    assert all((ROOT / name).exists() for name in found)
    folders = set(re.findall(r'"(?:scalegan\.\w+)": "(\w+)', (ROOT / "setup.py").read_text()))
    assert folders | {"scalegan", "setup.py", "pyproject.toml", "README.md", "constraints.txt"} <= found
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[0] == "**" and {line[1:] for line in ignored if line.startswith("!")} == found


def test_links_of_the_page_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", page())
    assert len(targets) >= 3 and all((Path(ROOT / "docs") / target).exists() for target in targets)
    assert "(docs/install.md)" in (ROOT / "README.md").read_text()
