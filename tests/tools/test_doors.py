"""Developer tools stay out of the installed package, and their scripts run from any folder."""

import re
from pathlib import Path

import pytest
from forked import Started
from harness import ROOT, environment

# Others are called by make and by mkdocs.
OTHERS = {"__init__.py", "after_quickstart.py", "site.py"}
DOORS = sorted({path.name for path in (ROOT / "tools").glob("*.py")} - OTHERS)


def test_no_module_of_the_package_can_change_the_machine() -> None:
    texts = {path: path.read_text() for path in (ROOT / "scalegan").rglob("*.py")}
    wrong = re.compile(r"/etc/hosts|\[\"apt-get|(from|import) tools")
    assert [path for path, text in texts.items() if wrong.search(text)] == []


def opened(folder: Path, door: str, *arguments: str) -> tuple[int, str]:
    process = Started([str(ROOT / "tools" / door), *arguments], 1, environment(), folder)
    said = process.communicate()
    return process.returncode, "".join(said)


@pytest.mark.slow
@pytest.mark.parametrize("door", DOORS)
def test_every_door_opens_from_any_folder(door: str, tmp_path: Path) -> None:
    code, said = opened(tmp_path, door, "--help")
    assert code == 0, said
    assert "usage" in said


@pytest.mark.slow
@pytest.mark.parametrize("command", ["benchmark.py loader --only webdataset_256_vs_decode --data wrong.zip",
                                     "class_error.py wrong.zip --data wrong.zip", "encoder_features.py missing",
                                     "projection_distance.py missing --data wrong.zip --test wrong.zip"])
def test_a_wrong_file_is_one_line(command: str, tmp_path: Path) -> None:
    (tmp_path / "wrong.zip").write_text("no zip")
    door, *arguments = command.split()
    code, said = opened(tmp_path, door, *arguments)
    assert code == 1, said
    assert "Traceback" not in said and said.splitlines()[-1].startswith("scalegan: error: ")
