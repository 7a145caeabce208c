"""`resume=PATH` of something other than a checkpoint."""

from collections.abc import Callable
from pathlib import Path

import pytest

from scalegan.errors import RecipeError
from scalegan.training.named_checkpoint import check_named
from scalegan.training.run_folder import write_config


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


def test_a_new_folder_that_goes_on_from_another_run_has_its_own_recipe(tmp_path: Path) -> None:
    """Without config.yaml, no command would take it for a run folder."""
    assert write_config(tmp_path, {"seed": 1}, {}, 64, before={"seed": 0}) == ["seed"]
    assert (tmp_path / "config.yaml").read_text().startswith("seed: 1")
    assert write_config(tmp_path, {"seed": 2}, {}, 128, before={"seed": 1}) == ["seed"]
    assert (tmp_path / "config.yaml").read_text().startswith("seed: 1")
    assert (tmp_path / "config.128.yaml").read_text().startswith("seed: 2")
