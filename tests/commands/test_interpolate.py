"""Interpolation between samples."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from harness import cli, launch
from PIL import Image

import scalegan
from scalegan.checkpoints import exports
from scalegan.commands.interpolate import main
from scalegan.errors import UserError
from scalegan.games.sampling import latents
from scalegan.latents.interpolation import walk
from scalegan.latents.space import slerp
from scalegan.pictures.grids import pixels_of
from scalegan.randomness import Draws

STYLED = """extends: [_base/stylegan2]
data: {{path: "{data}", resolution: 16, workers: 0, labels: class, block_records: 8, window_blocks: 4}}
model: {{channel_base: 128, channel_max: 8, latent_dim: 16, w_dim: 16, mapping_layers: 2}}
batch_size: 8
lanes: 4
precision: fp32
total_images: 16
"""


def test_slerp_keeps_length_and_goes_evenly() -> None:
    a, b = torch.tensor([2.0, 0.0, 0.0]), torch.tensor([0.0, 2.0, 0.0])
    for step in range(5):
        angle = step / 4 * math.pi / 2
        torch.testing.assert_close(slerp(a, b, step / 4), torch.tensor([2 * math.cos(angle), 2 * math.sin(angle), 0]))
    torch.testing.assert_close(slerp(a, a, 0.3), a)


def test_a_walk_begins_and_ends_at_what_sample_draws(finished_run: Path) -> None:
    generator = scalegan.load(finished_run)
    label = torch.tensor([2])
    images = walk(generator, [5, 9, 1], 4, label)
    assert images.shape == (10, 3, 16, 16)
    ends = exports.sample(generator, [5, 9, 9, 1], label.expand(4), 1.0)
    torch.testing.assert_close(images[[0, 4, 5, 9]], ends, rtol=0, atol=1e-5)
    steps = (images[1:5] - images[:4]).flatten(1).norm(dim=1)
    assert steps.min() > 0 and steps.sum() < 3 * (images[4] - images[0]).norm()


def test_styles_are_interpolated_in_w(tiny_set: Path, tmp_path: Path) -> None:
    (tmp_path / "styled.yaml").write_text(STYLED.format(data=tiny_set))
    launch(1, f"recipe={tmp_path / 'styled.yaml'}", f"run_dir={tmp_path / 'run'}")
    generator = scalegan.load(tmp_path / "run")
    images = walk(generator, [3, 4], 2, torch.tensor([1]), psi=0.7)
    z = latents(generator, Draws(0, 0, "sample", torch.tensor([3, 4])))
    w = generator.mapping(z, torch.tensor([1, 1]), 0.7)
    expected = generator.synthesis(torch.stack([w[0], w.mean(0), w[1]]), "const")
    torch.testing.assert_close(images, expected, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_a_strip_has_a_row_for_each_leg(finished_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "strip.png"
    done = cli("interpolate", finished_run, "--seeds", "0,1,2", "--steps", "5", "--out", out, "--class", "3")
    assert done.returncode == 0 and done.stdout.strip() == str(out.resolve()), done.stderr
    strip = np.array(Image.open(out))[::4, ::4]  # enlarged four times
    assert strip.shape == (2 + 2 * 18, 2 + 6 * 18, 3)
    images = pixels_of(walk(scalegan.load(finished_run), [0, 1, 2], 5, torch.tensor([3])))
    for index, image in enumerate(images):
        top, left = 2 + index // 6 * 18, 2 + index % 6 * 18
        assert np.abs(strip[top : top + 16, left : left + 16].astype(int) - image).max() <= 1


def test_an_animation_ends_where_it_began(finished_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "walk.gif"
    assert main([str(finished_run), "--seeds", "0-2", "--steps", "4", "--out", str(out)]) == 0
    picture = Image.open(out)
    assert picture.n_frames == 12 and picture.size == (128, 128) and picture.info["loop"] == 0
    first = np.array(picture.convert("RGB"))[::8, ::8].astype(int)
    expected = pixels_of(walk(scalegan.load(finished_run), [0, 1], 4, torch.tensor([0])))[0]
    assert np.abs(first - expected).mean() < 6  # of 256 colours


@pytest.mark.parametrize("arguments, says", [
    (["--out", "x.webm"], "or .mp4 for a video"),
    (["--truncation", "0,1", "--psi", "0.5"], "leave out --psi"),
    (["--truncation", "0.5,1"], "truncation"),
    (["--mix", "3"], "style-based"),
    (["--mix", "3", "--steps", "8"], "leave out --steps"),
    (["--mix", "3", "--out", "x.gif"], "--mix makes a picture"),
    (["--seeds", "3"], "two seeds"),
    (["--steps", "0"], "one step"),
    (["--class", "9"], "are 0 to 3"),
    (["--psi", "0.5"], "truncation"),
    (["--ema", "short"], "no average 'short'"),
])
def test_errors_of_interpolate(arguments: list[str], says: str, finished_run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=says):
        main([str(finished_run), "--out", str(tmp_path / "x.png"), *arguments])
