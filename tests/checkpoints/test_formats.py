"""Runs and exports of format 1, written by the last version that used it, can be read and resumed."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from harness import cli, digest, launch, train
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import scalegan
from scalegan.checkpoints import exports, store
from scalegan.errors import UserError

OLD = Path(__file__).parent / "format1"  # two recipes of `mlp` and `dcgan`, on ring8 and on tests/harness.py's set
Z = torch.tensor([[0.5, -1.0], [1.5, 0.25]])
POINTS = torch.tensor([[0.206014, 0.370435], [0.718839, 0.959249]])  # what that version made of it
PIXELS = torch.tensor([[-0.397209, -0.490308, -0.383424], [-0.616133, -0.698048, -0.001648]])  # two of its pixels


@pytest.fixture
def old_run(tmp_path: Path) -> Path:
    return shutil.copytree(OLD / "run", tmp_path / "run")


@pytest.mark.slow
def test_a_run_of_format_1_resumes_in_format_2(old_run: Path, tmp_path: Path) -> None:
    """Keys that its recipe did not have take their defaults, and do not make it a different run."""
    before = store.read(store.complete(old_run / "checkpoints")[-1])
    two = shutil.copytree(old_run, tmp_path / "two")
    more = [f"recipe={old_run / 'config.yaml'}", "total_images=192"]
    done = train(*more, f"run_dir={old_run}")
    assert "at 64 images" in done.stdout
    said = "changed since that checkpoint: "
    changed = {line.removeprefix(said) for line in done.stdout.splitlines() if said in line}
    assert changed == {"run_dir", "total_images"}
    newest = store.complete(old_run / "checkpoints")[-1]
    facts = store.metadata_of(newest)
    assert facts["format"] == 2 and facts["images"] == 192 and facts["updates"]["D"] > 4
    assert store.read(newest).keys() == before.keys()
    launch(2, *more, f"run_dir={two}")
    assert digest(two) == digest(old_run)


@pytest.mark.slow
def test_a_run_of_format_1_can_be_inspected(old_run: Path) -> None:
    done = cli("inspect", old_run, "--verify")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["groups"].keys() == {"game", "ema", "optimizer/D", "optimizer/G"}


def test_exports_of_format_1_draw_what_they_drew() -> None:
    torch.testing.assert_close(scalegan.load(OLD / "points.safetensors")(Z), POINTS, atol=1e-5, rtol=0)
    images = scalegan.load(OLD / "images.safetensors")
    drawn = images(torch.linspace(-2, 2, 8).view(2, 4), torch.tensor([0, 2]))
    torch.testing.assert_close(torch.stack([drawn[0, :, 5, 7], drawn[1, :, 9, 3]]), PIXELS, atol=1e-5, rtol=0)


def test_a_run_of_format_1_loads_as_its_export(old_run: Path) -> None:
    assert torch.equal(scalegan.load(old_run)(Z), scalegan.load(OLD / "points.safetensors")(Z))


@pytest.mark.slow
def test_an_export_of_format_1_can_be_sampled(tmp_path: Path) -> None:
    done = cli("sample", OLD / "images.safetensors", "--out", tmp_path / "drawn", "--seeds", "0-3")
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "drawn").glob("*.png"))) >= 4


@pytest.mark.parametrize("change", [{"format": "2"}, {"specs": {"real": {"kind": "image", "shape": [1], "smell": 1}}},
                                    {"networks": {"G": {"players": ["G"], "smell": 1}}}, {"networks": 3}])
def test_a_foreign_header_is_reported_in_one_line(change: dict, old_run: Path, tmp_path: Path) -> None:
    new = tmp_path / "new.safetensors"
    exports.save(scalegan.load(old_run), new)
    with safe_open(new, framework="pt") as file:
        about = json.loads(file.metadata()["scalegan"])
    save_file(load_file(new), new, {"scalegan": json.dumps({**about, **change})})
    with pytest.raises(UserError, match=r"is not a generator that|has format 2, but"):
        scalegan.load(new)


def test_missing_averages_are_reported(old_run: Path) -> None:
    with pytest.raises(UserError, match="has no average 'short'; it has only the main one"):
        scalegan.load(old_run, ema="short")


def test_future_formats_are_refused(old_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new = tmp_path / "new.safetensors"
    with safe_open(OLD / "points.safetensors", framework="pt") as file:
        about = json.loads(file.metadata()["scalegan"])
    save_file(load_file(OLD / "points.safetensors"), new, {"scalegan": json.dumps({**about, "format": 3})})
    with pytest.raises(UserError, match=f"{new} has format 3, but this version of ScaleGAN reads up to 2"):
        scalegan.load(new)
    monkeypatch.setattr(store, "FORMAT", 0)
    with pytest.raises(UserError, match="has format 1, but this version of ScaleGAN reads up to 0"):
        scalegan.load(old_run)
