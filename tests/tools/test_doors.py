"""Developer tools stay out of the installed package, and their scripts run from any folder."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from harness import ROOT

# Others are called by make and by mkdocs.
OTHERS = {"__init__.py", "after_quickstart.py", "site.py"}
DOORS = sorted({path.name for path in (ROOT / "tools").glob("*.py")} - OTHERS)


def test_no_module_of_the_package_can_change_the_machine() -> None:
    texts = {path: path.read_text() for path in (ROOT / "scalegan").rglob("*.py")}
    wrong = re.compile(r"/etc/hosts|\[\"apt-get|(from|import) tools")
    assert [path for path, text in texts.items() if wrong.search(text)] == []


@pytest.mark.slow
@pytest.mark.parametrize("door", DOORS)
def test_every_door_opens_from_any_folder(door: str, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, ROOT / "tools" / door, "--help"], cwd=tmp_path, capture_output=True,
                          text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("command", ["benchmark.py loader --only webdataset_256_vs_decode --data wrong.zip",
                                     "class_error.py wrong.zip --data wrong.zip", "encoder_features.py missing",
                                     "projection_distance.py missing --data wrong.zip --test wrong.zip"])
def test_a_wrong_file_is_one_line(command: str, tmp_path: Path) -> None:
    (tmp_path / "wrong.zip").write_text("no zip")
    door, *arguments = command.split()
    done = subprocess.run([sys.executable, ROOT / "tools" / door, *arguments], cwd=tmp_path, capture_output=True,
                          text=True, timeout=120)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr and done.stderr.splitlines()[-1].startswith("scalegan: error: ")
