"""What the first tutorial promises of the run that is killed."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from harness import PATIENCE_SECONDS, ROOT, digest, environment

SHORT = ["total_images=128", "snapshot.every_images=0"]


@pytest.mark.slow
def test_the_run_that_is_killed_ends_with_the_digest_of_make_quickstart(tmp_path: Path) -> None:
    """A launcher gives its process one thread; the command alone has one for each core, and other bits."""
    launched = re.search(r"accelerate (launch .*?recipe=quickstart)", (ROOT / "Makefile").read_text(), re.DOTALL)[1]
    page = (ROOT / "docs" / "tutorials" / "five_minutes.md").read_text()
    told = re.search(r"^scalegan (train .*run_dir=runs/killed.*)$", page, re.MULTILINE)[1]
    free = {key: value for key, value in environment().items() if not key.endswith("_NUM_THREADS")}
    accelerate = [sys.executable, "-m", "accelerate.commands.accelerate_cli"]
    for name, command in (("made", [*accelerate, *shlex.split(launched.replace("\\\n", " "))]),
                          ("told", [sys.executable, "-m", "scalegan", *shlex.split(told)])):
        subprocess.run([*command, f"run_dir={tmp_path / name}", *SHORT], cwd=ROOT, env=free, check=True,
                       timeout=PATIENCE_SECONDS)
    assert digest(tmp_path / "made") == digest(tmp_path / "told")
