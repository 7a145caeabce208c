"""From a finished run to images: inspect, load, sample, export."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from harness import cli, digest, launch, train
from PIL import Image

import scalegan
from scalegan.checkpoints import exports, store
from scalegan.commands import directions, export, inspection, sample
from scalegan.errors import UserError


@pytest.mark.slow
def test_inspect_reports_what_a_run_holds(finished_run: Path) -> None:
    done = cli("inspect", finished_run, "--verify")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["images"] == 2560
    assert found["updates"] == {"D": 40, "D.r1": 10, "G": 40}
    assert found["digest"] == digest(finished_run)
    assert {"game", "ema", "optimizer/D", "optimizer/G"} <= found["groups"].keys()
    assert found["recipe"]["batch_size"] == 64


def test_contents_of_a_run_folder(finished_run: Path) -> None:
    assert {"config.yaml", "metrics.jsonl", "samples", "checkpoints", "reals.png"} <= {
        p.name for p in finished_run.iterdir()}
    assert [p.name for p in sorted((finished_run / "samples").iterdir())] == [
        f"{images:012d}.png" for images in (0, 960, 1856, 2560)]
    rows = [json.loads(line) for line in (finished_run / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["images"] == 2560
    assert {"seconds", "images_per_second", "loss/D/real", "loss/D/fake", "loss/G/fake"} <= rows[-1].keys()


@pytest.mark.slow
def test_another_identity_is_refused(finished_run: Path, tiny_recipe: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished_run, tmp_path / "run"))
    done = train(f"recipe={tiny_recipe}", f"run_dir={run}", "seed=1", code=2)
    assert "seed=0" in done.stderr and "a different run" in done.stderr
    assert done.stderr.count("\n") == 1


def test_never_resume_refuses_a_folder_with_checkpoints(finished_run: Path, tiny_recipe: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished_run, tmp_path / "run"))
    with pytest.raises(AssertionError, match=r"RecipeError: resume=never, but .* holds checkpoints"):
        launch(1, f"recipe={tiny_recipe}", f"run_dir={run}", "resume=never")


def test_loaded_generator_is_the_average(finished_run: Path) -> None:
    generator = scalegan.load(finished_run)
    assert not generator.training
    assert generator.about["images"] == 2560
    labels = torch.arange(8) % 4
    images = exports.sample(generator, list(range(8)), labels, 1.0)
    assert images.shape == (8, 3, 16, 16)
    assert images.std() > 0.01


def test_a_seed_gives_the_same_image_in_any_batch(finished_run: Path) -> None:
    generator = scalegan.load(finished_run)
    labels = torch.tensor([0, 1, 2, 3] * 10)
    together = exports.sample(generator, list(range(40)), labels, 1.0, batch=40)
    alone = exports.sample(generator, [17, 3], labels[[17, 3]], 1.0, batch=1)
    torch.testing.assert_close(alone, together[[17, 3]], rtol=0, atol=1e-6)


def test_export_gives_the_same_images(finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "deep" / "generator.safetensors"
    assert export.main([str(finished_run), "--out", str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out.resolve())
    labels = torch.arange(4)
    images = [exports.sample(scalegan.load(path), [0, 1, 2, 3], labels, 1.0) for path in (finished_run, out)]
    assert images[0].equal(images[1])
    assert out.stat().st_size < 1_000_000
    assert [p.name for p in out.parent.iterdir()] == [out.name]


@pytest.mark.slow
def test_what_is_made_of_a_checkpoint_does_not_go_with_it(finished_run: Path, tmp_path: Path,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    """The run removes it once there are newer ones. Also where it is named from beside it."""
    run = Path(shutil.copytree(finished_run, tmp_path / "run"))
    newest = store.complete(run / "checkpoints")[-1]
    before = sorted(newest.rglob("*"))
    assert export.main([str(newest)]) == 0
    monkeypatch.chdir(newest.parent)
    assert export.main([newest.name, "--network", "G"]) == 0
    assert directions.main([newest.name, "--unsupervised", "sefa"]) == 0
    assert {path.name for path in (run / "exports").iterdir()} == {
        f"{newest.name}{chosen}.safetensors" for chosen in ("-G", "")}
    assert (run / "directions-sefa.safetensors").is_file() and sorted(newest.rglob("*")) == before


def test_sample_writes_a_grid_and_single_pictures(finished_run: Path, tmp_path: Path) -> None:
    assert sample.main([str(finished_run), "--seeds", "0-5,9", "--columns", "4", "--out", str(tmp_path)]) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        ["grid.png", *(f"seed{seed:06d}.png" for seed in (0, 1, 2, 3, 4, 5, 9))])
    single = np.array(Image.open(tmp_path / "seed000000.png"))
    assert single.shape == (16, 16, 3)
    grid = np.array(Image.open(tmp_path / "grid.png"))
    assert (grid[8 : 8 + 64 : 4, 8 : 8 + 64 : 4] == single).all()


@pytest.mark.parametrize("arguments, says", [
    (["--psi", "0.5"], "truncation"),
    (["--classes", "7"], "7"),
], ids=["psi", "class"])
def test_errors_of_sample(arguments: list[str], says: str, finished_run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=says):
        sample.main([str(finished_run), "--out", str(tmp_path), *arguments])


@pytest.mark.parametrize("verb", [sample, export, inspection], ids=lambda module: module.__name__)
def test_a_folder_without_a_run_is_refused(verb: object, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="neither a run folder with a complete checkpoint") as caught:
        verb.main([str(tmp_path)])
    assert "\n" not in str(caught.value)


def test_a_path_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere does not exist$"):
        sample.main([str(tmp_path / "nowhere")])


def test_a_file_that_is_not_an_export_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"not a generator")
    with pytest.raises(UserError, match="scalegan export"):
        scalegan.load(tmp_path / "x.safetensors")
