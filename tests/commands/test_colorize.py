"""`scalegan colorize`: lightness, names of results, and what is refused. `test_photo_commands` has odd files."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from harness import launch
from odd_photos import picture, saved, transparent, zipped
from PIL import Image

from scalegan import cli
from scalegan.checkpoints import exports
from scalegan.commands import apply
from scalegan.commands import colorize as command_colorize
from scalegan.data.colour import rgb_to_lab
from scalegan.errors import UserError
from scalegan.pictures import photos
from scalegan.probing.features import network_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("colorization")
    (folder / "images").mkdir()
    for number in range(8):
        picture(32, 32 + number).save(folder / "images" / f"{number}.png")
    launch(1, "recipe=colorization_celeba", f"data.path={folder / 'images'}", "data.backend=folder",
           "data.resolution=32", "model.width=2", "model.d_width=2", "batch_size=4", "total_images=8",
           "snapshot.every_images=8", "snapshot.rows=2", f"run_dir={folder / 'run'}")
    return folder / "run"


@pytest.fixture
def colorize(run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Runs the command on inputs and returns the exit code and the lines of errors."""
    def command(*inputs: object, run: Path = run, **options: object) -> tuple[int, str]:
        more = [f"--{name}={value}" for name, value in options.items()]
        arguments = [str(run), *map(str, inputs), f"--out={tmp_path / 'out'}", *more]
        code = cli.run_verb(command_colorize.main, arguments)
        return code, "\n".join(line for line in capfd.readouterr().err.splitlines() if "error:" in line)

    return command


def test_a_result_has_the_photos_lightness_and_alpha(colorize, tmp_path: Path) -> None:
    for name, image in (("c.png", transparent("RGBA")), ("large.png", picture(700, 900))):
        image.save(tmp_path / name)
        assert colorize(tmp_path / name) == (0, "")
        before, after = (photos.read(path.read_bytes()) for path in (tmp_path / name, tmp_path / "out" / name))
        assert (before.alpha is None and after.alpha is None) or (before.alpha == after.alpha).all()
        first, second = (rgb_to_lab(torch.from_numpy(photo.pixels / 255.0).movedim(2, 0)[None])[:, 0]
                         for photo in (before, after))
        assert (first - second).abs().mean() < 0.2 and (first - second).abs().max() < 1.5   # of 100; bytes are rounded


def test_the_colours_of_a_photo_are_not_looked_at(colorize, tmp_path: Path) -> None:
    red, grey = np.zeros((40, 40, 3), np.uint8), None
    red[..., 0] = 200
    lightness = rgb_to_lab(torch.tensor([200 / 255, 0, 0]).view(1, 3, 1, 1))[0, 0].item()
    levels = torch.linspace(0, 1, 256).view(1, 1, 1, -1).expand(1, 3, 1, -1)
    grey = (rgb_to_lab(levels)[0, 0, 0] - lightness).abs().argmin().item()
    Image.fromarray(red).save(tmp_path / "red.png")
    Image.new("L", (40, 40), grey).save(tmp_path / "grey.png")
    colorize(tmp_path / "red.png", tmp_path / "grey.png")
    one, other = (np.asarray(Image.open(tmp_path / "out" / name)).astype(int) for name in ("red.png", "grey.png"))
    assert abs(one - other).max() <= 3


def test_zips_are_read_in_place_and_equal_names_stay_apart(colorize, tmp_path: Path) -> None:
    (tmp_path / "album.zip").write_bytes(zipped({"inside/x.png": saved(picture()),
                                                     "inside/y.png": saved(picture(mode="L"))}))
    for name in ("x.png", "x.jpg"):
        picture().save(tmp_path / name)
    (tmp_path / "other").mkdir()
    picture().save(tmp_path / "other" / "x.png")
    code, errors = colorize(*(tmp_path / name for name in ("album.zip", "x.png", "x.jpg", "other/x.png")))
    assert (code, errors) == (0, "")
    found = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.png"))
    assert found == ["inside/x.png", "inside/y.png", "x.jpg.png", "x.png.png", "x.png_2.png"]


@pytest.mark.parametrize("inputs, said", [
    (("nowhere.png",), "nowhere.png does not exist"), (("empty",), "has no images"),
    (("page.html",), "page.html: it is not one of JPEG"),
])
def test_inputs_without_photos_are_named(colorize, tmp_path: Path, inputs: tuple[str], said: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "page.html").write_text("<html>")
    code, errors = colorize(*(tmp_path / name for name in inputs))
    assert code == 1 and said in errors and len(errors.splitlines()) == 1


@pytest.mark.parametrize("photo", ["photos", "photos/a.png", "photos/sub/../a.png"])
def test_photos_are_never_overwritten(colorize, tmp_path: Path, photo: str) -> None:
    (tmp_path / "photos" / "sub").mkdir(parents=True)
    picture().save(tmp_path / "photos" / "a.png")
    (tmp_path / "out").symlink_to(tmp_path / "photos")
    before = (tmp_path / "photos" / "a.png").read_bytes()
    code, errors = colorize(tmp_path / photo)
    assert code == 2 and "name a folder apart from INPUT" in errors and len(errors.splitlines()) == 1
    assert (tmp_path / "photos" / "a.png").read_bytes() == before


def test_a_run_of_another_game_is_refused(colorize, tmp_path: Path, run: Path) -> None:
    picture().save(tmp_path / "a.png")
    other = tmp_path / "grey"
    launch(1, "recipe=colorization_celeba", f"data.path={run.parent / 'images'}", "data.backend=folder",
           "data.resolution=32", "model.width=2", "model.d_width=2", "batch_size=4", "total_images=4",
           "game.name=pix2pix", "game.input=grey", f"run_dir={other}")
    code, errors = colorize(tmp_path / "a.png", run=other)
    assert code == 2 and "takes grey, not lightness" in errors and len(errors.splitlines()) == 1
    with pytest.raises(UserError, match="whose D sees answers to images"):
        network_of(other)
    with pytest.raises(UserError, match="takes grey, not seeds; `scalegan apply` gives it photos"):
        exports.load_generator(other)
    picture(50, 70, "L").save(tmp_path / "grey.png")
    for name, shape in (("a.png", (40, 24)), ("grey.png", (70, 50))):
        assert apply.main([str(other), str(tmp_path / name), "--out", str(tmp_path / "applied")]) == 0
        image = Image.open(tmp_path / "applied" / name)
        assert (image.mode, image.size) == ("RGB", shape)


def test_apply_gives_a_network_for_colours_what_colorize_does(colorize, tmp_path: Path, run: Path) -> None:
    picture().save(tmp_path / "a.png")
    colorize(tmp_path / "a.png")
    assert apply.main([str(run), str(tmp_path / "a.png"), "--out", str(tmp_path / "applied")]) == 0
    assert (tmp_path / "applied" / "a.png").read_bytes() == (tmp_path / "out" / "a.png").read_bytes()
