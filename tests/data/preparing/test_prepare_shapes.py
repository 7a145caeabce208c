"""Preparing images that are not square: what is cut, padded, refused and said."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scalegan.commands import prepare
from scalegan.data.manifest import ImageFormat, Manifest
from scalegan.data.picture import fit
from scalegan.data.reading.folder import FolderReader
from scalegan.data.reading.webdataset import WebDatasetReader
from scalegan.errors import UsageError, UserError


@pytest.mark.parametrize(("how", "picture", "scale", "cut"), [
    ("center", (50, 100), 0.64, 0.0), ("center", (100, 100), 0.64, 0.5), ("center", (32, 128), 1.0, 0.5),
    ("none", (51, 102), 32 / 51, 0.0), ("pad-black", (100, 50), 0.32, 0.0), ("pad-white", (1, 1000), 0.064, 0.0),
    ("pad-edge", (1000, 1), 0.032, 0.0)])
def test_a_picture_is_fitted_to_64x32(how: str, picture: tuple, scale: float, cut: float) -> None:
    made = fit(np.full((*picture, 3), 128, np.uint8), how, (32, 64), 3, "lanczos")
    assert made.pixels.shape == (32, 64, 3)
    assert (round(made.scale, 6), made.cut) == (round(scale, 6), cut)
    corner, middle = made.pixels[0, 0, 0], made.pixels[15, 31, 0]
    assert (corner, middle) == ({"pad-black": 0, "pad-white": 255}.get(how, 128), 128)


@pytest.mark.parametrize(("how", "reason"), [("none", "not of the ratio 64 : 32"), ("celeba178", "cuts squares")])
def test_a_picture_that_does_not_fit_is_refused(how: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        fit(np.zeros((50, 50, 1), np.uint8), how, (32, 64), 1, "lanczos")


def test_squares_are_described_as_ever() -> None:
    assert "width" not in ImageFormat(64, 3, "jpeg", 95).tree()
    wide = ImageFormat(32, 3, "jpeg", 95, width=64)
    assert (wide.tree()["width"], wide.resolution, wide.shape) == (64, "64x32", (32, 64, 3))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number, (height, width) in enumerate([(40, 40), (30, 90), (90, 30), (7, 5)]):
        picture = np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(picture).save(folder / f"{number}.png")
    return folder


@pytest.mark.slow
def test_prepared_and_unprepared_images_are_the_same(photos: Path, tmp_path: Path,
                                                     capsys: pytest.CaptureFixture) -> None:
    prepare.main([str(photos), str(tmp_path / "set"), "--resolution", "24x8", "--encoding", "png", "--workers", "1"])
    assert "3 images were cut to the ratio 3 : 1" in capsys.readouterr().out
    assert Manifest.load(tmp_path / "set").image.sides == (8, 24)
    read = [WebDatasetReader(tmp_path / "set"), FolderReader(photos, "24x8")]
    made = [np.empty((4, 8, 24, 3), np.uint8) for _ in read]
    for reader, out in zip(read, made):
        reader.read(out, np.arange(4))
    assert np.array_equal(*made)


@pytest.mark.slow
@pytest.mark.parametrize(("options", "message"), [
    (["--crop", "none"], "3 of 4|--pad fills it"), (["--crop", "center", "--pad", "edge"], "leave one of them out"),
    (["--crop", "celeba178"], "use --crop center"), (["--kind", "volumes"], "volumes are cubes")])
def test_what_cannot_be_is_said_in_a_line(photos: Path, tmp_path: Path, options: list, message: str) -> None:
    with pytest.raises((UsageError, UserError), match=message):
        prepare.main([str(photos), str(tmp_path / "set"), "--resolution", "24x8", "--workers", "1", *options])
