"""`scalegan study colorization`: its table and picture, and what it refuses."""

import json
from pathlib import Path

import harness
import numpy as np
import pytest
from PIL import Image

from scalegan.commands import study
from scalegan.errors import UserError
from scalegan.study.colorization import VARIANTS, as_markdown


def test_every_loss_comes_with_both_distances_and_each_distance_alone() -> None:
    losses = ("GAN", "LSGAN", "EBGAN", "WGAN", "WGAN-GP")
    assert set(VARIANTS) == {"L1", "L2", *(f"{loss} + {distance}" for loss in losses for distance in ("L1", "L2"))}


def test_the_table_has_medians_over_seeds_and_gaps_where_nothing_was_measured() -> None:
    rows = {"grey": [{"ab_l1": 11.0}], "GAN + L1": [{"ab_l1": value, "minutes": 1.0} for value in (5.0, 9.0, 6.0)]}
    lines = as_markdown(rows).splitlines()
    assert lines[2].split("|")[1:3] == [" grey ", " 11.00 "] and lines[2].endswith("|  |  |  |")
    assert lines[3].split("|")[2] == " 6.00 " and lines[3].split("|")[-2] == " 1.0 "


@pytest.mark.parametrize("arguments, said", [
    ([], "--data PATH --test PATH"), (["--data", "x"], "--data PATH --test PATH"),
    (["--data", "x", "--test", "y", "--objectives", "GAM + L1"], "GAN + L1"),
    (["--data", "x", "--test", "nowhere"], "nowhere"),
])
def test_what_cannot_work_is_refused_in_a_line(arguments: list[str], said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as raised:
        study.main(["colorization", "--out", str(tmp_path / "out"), *arguments])
    assert said in str(raised.value) and len(str(raised.value).splitlines()) == 1


@pytest.mark.slow
def test_a_table_and_a_picture_and_a_repeated_call_trains_nothing(tmp_path: Path, capfd) -> None:
    for name in ("train", "test"):
        harness.make_set(tmp_path / name, (24,), "png", 32)
    arguments = ["colorization", "--data", str(tmp_path / "train"), "--test", str(tmp_path / "test"), "--images", "16",
                 "--samples", "12", "--objectives", "WGAN + L1", "--out", str(tmp_path / "out")]
    assert study.main(arguments) == 0
    rows = json.loads((tmp_path / "out" / "table.json").read_text())
    assert list(rows) == ["grey", "mean colour", "WGAN + L1", "truth"]
    assert {"ab_l1", "colourfulness", "ab_histogram", "psnr", "fd", "minutes"} == set(rows["WGAN + L1"][0])
    assert rows["grey"][0]["colourfulness"] < 1 < rows["mean colour"][0]["colourfulness"]
    assert rows["mean colour"][0]["ab_l1"] < rows["grey"][0]["ab_l1"]
    picture = np.asarray(Image.open(tmp_path / "out" / "picture.png"))
    assert picture.shape[1] == 2 * (3 * 34 + 2)     # grey, the variant, truth
    table = (tmp_path / "out" / "table.md").read_text()
    capfd.readouterr()
    assert study.main(arguments) == 0
    assert "images/s" not in capfd.readouterr().out and (tmp_path / "out" / "table.md").read_text() == table
