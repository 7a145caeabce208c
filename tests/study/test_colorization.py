"""`scalegan study colorization`: its table and picture, and what it refuses."""

import json
from pathlib import Path

import harness
import pytest
from PIL import Image

from scalegan.commands import study
from scalegan.errors import UserError
from scalegan.study.colorization import VARIANTS


def test_every_loss_comes_with_both_distances_and_each_distance_alone() -> None:
    losses = ("GAN", "LSGAN", "EBGAN", "WGAN", "WGAN-GP")
    assert set(VARIANTS) == {"L1", "L2", *(f"{loss} + {distance}" for loss in losses for distance in ("L1", "L2"))}


@pytest.mark.parametrize("arguments, said", [
    ([], "--data PATH --test PATH"), (["--data", "x"], "--data PATH --test PATH"),
    (["--data", "x", "--test", "y", "--objectives", "GAM + L1"], "GAN + L1"),
    (["--data", "x", "--test", "nowhere"], "nowhere"),
])
def test_what_cannot_work_is_refused_in_a_line(arguments: list[str], said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as raised:
        study.main(["colorization", "--out", str(tmp_path / "out"), *arguments])
    assert said in str(raised.value) and len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize("channels, size, said", [(3, 16, "sets of the same shape"), (1, 32, "needs colour")])
def test_sets_that_do_not_fit_are_refused_before_anything_is_trained(channels: int, size: int, said: str,
                                                                     tmp_path: Path) -> None:
    for name, mode, side in (("train", "RGB", 32), ("test", "L" if channels == 1 else "RGB", size)):
        (tmp_path / name).mkdir()
        Image.new(mode, (side, side)).save(tmp_path / name / "0.png")
    with pytest.raises(UserError) as raised:
        study.main(["colorization", "--data", str(tmp_path / "train"), "--test", str(tmp_path / "train"), "--test",
                    str(tmp_path / "test"), "--out", str(tmp_path / "out")])
    assert said in str(raised.value) and len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize("name, said", [("old.png", "leave it out of --photos"), ("nowhere", "does not exist")])
def test_a_photo_that_is_broken_or_missing_is_named_before_anything_is_trained(name: str, said: str,
                                                                               tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    Image.new("RGB", (32, 32), "red").save(tmp_path / "set" / "0.png")
    (tmp_path / "old.png").write_bytes(b"not a picture")
    with pytest.raises(UserError) as raised:
        study.main(["colorization", "--data", str(tmp_path / "set"), "--test", str(tmp_path / "set"), "--photos",
                    str(tmp_path / name), "--out", str(tmp_path / "out")])
    assert str(tmp_path / name) in str(raised.value) and said in str(raised.value)


@pytest.mark.slow
def test_tables_and_pictures_and_a_repeated_call_trains_nothing(tmp_path: Path, capfd) -> None:
    for name in ("train", "test", "other"):
        harness.make_set(tmp_path / name, (16,) if name == "other" else (24,), "png", 32)
    (tmp_path / "old").mkdir()
    for number, size in enumerate(((40, 50), (90, 33))):
        Image.linear_gradient("L").resize(size).save(tmp_path / "old" / f"{number}.png")
    arguments = ["colorization", "--data", str(tmp_path / "train"), "--test", str(tmp_path / "test"), "--test",
                 str(tmp_path / "other"), "--photos", str(tmp_path / "old"), "--images", "16", "--samples", "12",
                 "--objectives", "WGAN + L1", "--out", str(tmp_path / "out")]
    assert study.main(arguments) == 0
    tables = json.loads((tmp_path / "out" / "table.json").read_text())
    assert list(tables) == [str(tmp_path / "test"), str(tmp_path / "other")]
    for rows in tables.values():
        assert list(rows) == ["grey", "mean colour", "WGAN + L1", "truth"]
        assert {"ab_l1", "colourfulness", "ab_histogram", "psnr", "fd", "minutes"} == set(rows["WGAN + L1"][0])
        assert rows["grey"][0]["colourfulness"] < 1 < rows["mean colour"][0]["colourfulness"]
    first, other = tables.values()
    assert first["mean colour"][0]["ab_l1"] < first["grey"][0]["ab_l1"]
    assert first["WGAN + L1"] != other["WGAN + L1"]
    for name, columns, rows_of in (("picture", 3, 8), ("photos", 2, 2)):     # grey, the variant, truth
        picture = Image.open(tmp_path / "out" / f"{name}.png")
        assert picture.size == (2 * (columns * 34 + 2), 12 + 2 * (rows_of * 34 + 2))
    table = (tmp_path / "out" / "table.md").read_text()
    capfd.readouterr()
    assert study.main(arguments) == 0
    assert "images/s" not in capfd.readouterr().out and (tmp_path / "out" / "table.md").read_text() == table
