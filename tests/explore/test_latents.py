"""Latents to download are those of what is shown."""

from pathlib import Path

import numpy as np
import pytest
import small_generators
from PIL import Image

from scalegan.checkpoints import exports
from scalegan.commands import edit, sample
from scalegan.explore import abilities, commanding, commands, latents
from scalegan.explore.commands import Asked

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["DCGAN", "DCGAN with classes", "StyleGAN2"])
def export(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exports") / "generator.safetensors"
    exports.save(small_generators.networks(request.param), path)
    return path


def asked_of(run: abilities.Abilities) -> Asked:
    """The most that a run takes."""
    return Asked("3-6", labels=["c"] if run.labels else (), psi=0.7 if run.truncates else 1.0,
                 noise="random" if run.styled else "const")


def test_latents_give_the_samples_again(export: Path, tmp_path: Path) -> None:
    run = abilities.of(str(export))
    asked = asked_of(run)
    done = commanding.run(commands.sample(run, asked), tmp_path, lambda *progress: None)
    file = latents.of_samples(run, asked, tmp_path / "latents.safetensors")
    assert sample.main([str(export), "--latents", str(file), "--out", str(tmp_path / "again")]) == 0
    shown = [np.array(Image.open(path), int) for path in sorted(done.out.glob("seed*.png"))]
    again = [np.array(Image.open(path), int) for path in sorted((tmp_path / "again").glob("latent*.png"))]
    assert len(shown) == len(again) == 4
    assert all(np.abs(a - b).max() <= 1 for a, b in zip(shown, again))     # w is mapped in another batch
    assert any((a != shown[0]).any() for a in shown[1:])


def test_what_sliders_show_is_the_last_column_of_edit(export: Path, tmp_path: Path) -> None:
    run = abilities.of(str(export))
    asked = asked_of(run)
    found = commanding.run(commands.find_directions(run, "sefa", asked), tmp_path, lambda *progress: None).out
    amounts = {"0": 2.0, "1": -1.0}
    picture, after = latents.moved(run, asked, amounts, found, None, tmp_path)
    strip = commands.edit(run, asked, amounts, found)
    done = commanding.run(strip, tmp_path, lambda *progress: None)
    ours, theirs = (np.array(Image.open(path).convert("RGB"), int) for path in (picture, done.out))
    width = 16 * 4 + 2       # of a column
    assert np.abs(ours[12:, -width:] - theirs[12:, -width:]).max() <= 1
    assert np.abs(ours[12:, -width:] - ours[12:, :width]).max() > 10, "they have moved"
    assert edit.main([str(export), "--latents", str(after), "--direction", "0=+1", "--directions", str(found),
                      "--out", str(tmp_path / "on.png")]) == 0
