"""`resume=PATH` of something other than a checkpoint."""

from collections.abc import Callable
from pathlib import Path

import pytest

from scalegan.errors import RecipeError
from scalegan.training.named_checkpoint import check_named


def checkpoint(path: Path) -> Path:
    path.mkdir(parents=True)
    (path / "COMPLETE").write_text("{}")
    return path


def run(folder: Path) -> Path:
    for images in (64, 128):
        checkpoint(folder / "run" / "checkpoints" / f"{images:012d}")
    return folder / "run"


def export(folder: Path) -> Path:
    (folder / "x.safetensors").write_bytes(b"weights")
    return folder / "x.safetensors"


@pytest.mark.parametrize("make, says", [
    (export, "exports and other weights lack the optimizers' state"),
    (run, "is a run folder; name one of its checkpoints, such as .*/run/checkpoints/000000000128"),
    (lambda folder: folder / "nowhere", "does not exist"),
    (lambda folder: folder, "is not a complete checkpoint"),
], ids=["an export", "a run folder", "nothing", "an empty folder"])
def test_it_says_what_to_name(make: Callable[[Path], Path], says: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=says):
        check_named(make(tmp_path))


def test_a_checkpoint_is_what_it_should_be(tmp_path: Path) -> None:
    check_named(checkpoint(tmp_path / "000000000064"))
