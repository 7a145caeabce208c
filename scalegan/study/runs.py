"""A study's trainings, each a run of its own that is kept, and resumed when the study is repeated."""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from scalegan.errors import UserError
from scalegan.support.reading import read_json_lines


def train(run: Path, keys: Iterable[str]) -> None:
    """Trains with these keys, or goes on where an earlier call stopped. Raises UserError if it fails."""
    if subprocess.run([sys.executable, "-m", "scalegan", "train", *keys, f"run_dir={run}"]).returncode:
        raise UserError(f"the training of {run} ended with the error above; mend it and repeat the command, which "
                        "keeps what is finished")


def minutes_of(run: Path) -> float:
    """How long it trained."""
    return _last_report(run)["seconds"] / 60


def images_of(run: Path) -> int:
    """How many images it has taken."""
    return _last_report(run)["images"]


def _last_report(run: Path) -> dict[str, Any]:
    return read_json_lines(run / "metrics.jsonl")[-1]
