"""`scalegan colorize`: odd files, what a result keeps of its photo, and what is refused."""

import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from harness import launch
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


def picture(height: int = 24, width: int = 40, mode: str = "RGB") -> Image.Image:
    """Smooth colours, the same for the same size."""
    small = np.random.default_rng(height * width).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def saved(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6        # to be turned by a quarter
    return saved(picture(), "JPEG", exif=exif)


def deep() -> bytes:
    return saved(Image.fromarray(np.asarray(picture(mode="L")).astype(np.uint16) * 257))


def transparent(mode: str) -> Image.Image:
    image = picture(mode="RGB" if mode == "RGBA" else "L").convert(mode)
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


def zipped(**files: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in files.items():
            archive.writestr(f"inside/{name}.png", data)
    return file.getvalue()


# File: its bytes, and the mode and size (width, height) of its result; None if it must be named and left out.
ODD: dict[str, tuple[bytes, tuple[str, tuple[int, int]] | None]] = {
    "a.png": (saved(picture()), ("RGB", (40, 24))), "UPPER.JPG": (saved(picture(), "JPEG"), ("RGB", (40, 24))),
    "sub/deeper/b.webp": (saved(picture(), "WEBP"), ("RGB", (40, 24))),
    "sub/a.png": (saved(picture()), ("RGB", (40, 24))), "grey.png": (saved(picture(mode="L")), ("RGB", (40, 24))),
    "sixteen.png": (deep(), ("RGB", (40, 24))), "palette.gif": (saved(picture(mode="P"), "GIF"), ("RGB", (40, 24))),
    "bits.tif": (saved(picture(mode="1"), "TIFF"), ("RGB", (40, 24))),
    "cmyk.jpg": (saved(picture(mode="CMYK"), "JPEG"), ("RGB", (40, 24))),
    "turned.jpg": (turned(), ("RGB", (24, 40))), "alpha.png": (saved(transparent("RGBA")), ("RGBA", (40, 24))),
    "grey alpha.png": (saved(transparent("LA")), ("RGBA", (40, 24))),
    "one pixel.png": (saved(picture(1, 1)), ("RGB", (1, 1))), "thin.png": (saved(picture(2, 900)), ("RGB", (900, 2))),
    "tall.png": (saved(picture(300, 3)), ("RGB", (3, 300))), "small.png": (saved(picture(5, 7)), ("RGB", (7, 5))),
    "umlaut \u00e4 \u732b.png": (saved(picture()), ("RGB", (40, 24))),
    "broken.png": (saved(picture(200, 200))[:-3000], None), "empty.jpg": (b"", None),
    "text.png": (b"not an image", None),
    "svg.png": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", None),
    "float.tif": (saved(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"), None),
}


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


def write_odd(folder: Path) -> None:
    for name, (data, _) in ODD.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def test_a_folder_of_odd_files_is_done_but_for_those_that_are_named(colorize, tmp_path: Path) -> None:
    write_odd(tmp_path / "photos")
    code, errors = colorize(tmp_path / "photos", compare=tmp_path / "page.html")
    assert code == 1
    bad = [name for name, (_, result) in ODD.items() if result is None]
    assert sorted(re.findall(r"photos/(\S+?): ", errors)) == sorted(bad) and len(errors.splitlines()) == len(bad)
    for name, (_, expected) in ODD.items():
        result = (tmp_path / "out" / name).with_suffix(".png")
        if expected is None:
            assert not result.exists(), name
        else:
            image = Image.open(result)
            assert (image.mode, image.size) == expected, name
    page = (tmp_path / "page.html").read_text()
    shown = re.findall(r'<img[^>]* src="([^"]+)"', page)
    assert len(shown) == 2 * (len(ODD) - len(bad)) and page.count("<input") == len(ODD) - len(bad)
    from urllib.parse import unquote

    assert all((tmp_path / unquote(address)).is_file() for address in shown)


def test_results_are_the_same_bytes_whatever_else_is_coloured(colorize, tmp_path: Path) -> None:
    write_odd(tmp_path / "photos")
    colorize(tmp_path / "photos")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.png")}
    for name in ("alpha.png", "turned.jpg", "grey.png"):
        assert colorize(tmp_path / "photos" / name)[0] == 0
        assert (tmp_path / "out" / name).with_suffix(".png").read_bytes() == before[Path(name).stem + ".png"]


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
    (tmp_path / "album.zip").write_bytes(zipped(x=saved(picture()), y=saved(picture(mode="L"))))
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
    with pytest.raises(UserError, match="whose D sees more than an image"):
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
