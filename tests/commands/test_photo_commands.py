"""apply, colorize, upscale and translate: odd files, what a result keeps of its photo, and what is refused."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

import numpy as np
import pytest
from odd_photos import BAD, GOOD, STORED, picture, saved, transparent, write_odd, zipped
from PIL import Image
from small_games import exported
from torch import Tensor, nn

from scalegan import cli
from scalegan.checkpoints import exports
from scalegan.commands import apply, colorize, translate, upscale
from scalegan.data.spec import Spec
from scalegan.pictures import translation

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:Corrupt EXIF data")]

TINY = {"width": 2, "d_width": 2}
RECIPES: dict[ModuleType, dict[str, Any]] = {
    apply: {"game": {"name": "pix2pix", "input": "edges"}, "model": {"name": "unet", "norm": "batch", **TINY}},
    colorize: {"game": {"name": "colorization"}, "model": {"name": "unet", **TINY}},
    translate: {"game": {"name": "cyclegan"}, "model": {"name": "resnet_i2i", "blocks": 1, **TINY},
                "streams": {"B": {"path": "-"}}},
}


class Enlarged(nn.Module):
    """Each pixel as a square of four by four."""

    scale, reach, multiple = 4, 0, 1

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.about = {"network": "G", "model": {"name": "test"}, "export": {"inputs": ["image"], "output": "image"}}

    def forward(self, x: Tensor) -> Tensor:
        return x.repeat_interleave(4, 2).repeat_interleave(4, 3)


class Called(NamedTuple):
    code: int
    errors: list[str]
    warnings: list[str]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[ModuleType, Path]:
    folder = tmp_path_factory.mktemp("runs")
    return {command: exported(keys, folder / f"{command.__name__}.safetensors", Spec("image", (3, 32, 32)))
            for command, keys in RECIPES.items()}


@pytest.fixture
def call(runs: dict[ModuleType, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str],
         monkeypatch: pytest.MonkeyPatch) -> Callable[..., Called]:
    """Runs a command on inputs; results go to `out` in the test's folder."""
    def command(verb: ModuleType, *inputs: Path, out: str = "out", run: Path | None = None, **options: str) -> Called:
        if verb is upscale and run is None:
            monkeypatch.setattr(exports, "load", lambda *arguments: Enlarged())
        more = [f"--{name}={value}" for name, value in options.items()]
        code = cli.run_verb(verb.main, [str(run or runs.get(verb, "run")), *map(str, inputs),
                                        f"--out={tmp_path / out}", *more])
        lines = capfd.readouterr().err.splitlines()
        return Called(code, *([line for line in lines if word in line] for word in ("error:", "warning:")))

    return command


COMMANDS = pytest.mark.parametrize("verb", [apply, colorize, translate, upscale],
                                   ids=lambda verb: verb.__name__.rpartition(".")[2])


@COMMANDS
def test_of_many_odd_files_the_good_ones_are_answered_and_the_others_named(
        verb: ModuleType, call: Callable[..., Called], tmp_path: Path) -> None:
    photos, out, scale = tmp_path / "photos", tmp_path / "out", 4 if verb is upscale else 1
    write_odd(photos)
    (tmp_path / "album.zip").write_bytes(zipped({
        "x/y.png": saved(picture()), "../../out of it.png": saved(picture()), "bad.png": b"no",
        "inner.zip": zipped({"z.png": saved(picture())})}))
    (tmp_path / "half.zip").write_bytes((tmp_path / "album.zip").read_bytes()[:300])
    before = {path: path.read_bytes() for path in photos.rglob("*") if path.is_file() and "round" not in path.parts}
    inputs = [photos, *(tmp_path / name for name in ("album.zip", "half.zip", "missing.png"))]
    called = call(verb, *inputs, compare=str(tmp_path / "page.html"))

    assert called.code == 1
    named = [*BAD, "half.zip", "missing.png", "album.zip/bad.png"]
    assert [name for name in named if not any(re.search(rf"/{re.escape(name)}\b", line) for line in called.errors)] \
        == []
    assert len(called.errors) == len(named) and not any("Errno" in line for line in called.errors)
    assert len(called.warnings) == 1 and "passed over 1 file (1 .zip)" in called.warnings[0]
    for name, (mode, (width, height)) in GOOD.items():
        image = Image.open((out / name).with_suffix(".png"))
        assert (image.mode, image.size) == (mode, (scale * width, scale * height)), name
    results = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert "x/y.png" in results and not list(tmp_path.rglob("out of it*"))
    expected = len(GOOD) + 1
    assert len(results) == 2 * expected     # with those before, apart from the results of photos/before
    turned = {(out / f"turned {number}.png").read_bytes() for number in STORED}
    assert turned == {(out / "a.png").read_bytes()}
    assert all(path.read_bytes() == data for path, data in before.items())

    page = (tmp_path / "page.html").read_bytes()
    shown = re.findall(rb'<img[^>]* src="([^"]+)"', page)
    assert len(shown) == 2 * expected and page.count(b"<input") == expected
    assert all(Path(tmp_path, unquote_to_bytes(address).decode(errors="surrogateescape")).is_file()
               for address in shown)
    # Once more, in another company: the same bytes.
    for name in ("alpha.png", "turned.jpg", "tall.png"):
        assert call(verb, photos / name, out="again") == (0, [], [])
        again = (tmp_path / "again" / name).with_suffix(".png")
        assert again.read_bytes() == (out / name).with_suffix(".png").read_bytes()


def test_an_upscaled_photo_is_the_networks_answer_with_its_alpha_enlarged(call, tmp_path: Path) -> None:
    photo = transparent("RGBA")
    photo.save(tmp_path / "a.png")
    assert call(upscale, tmp_path / "a.png") == (0, [], [])
    colours, alpha = photo.convert("RGB"), photo.getchannel("A")
    result, size = Image.open(tmp_path / "out" / "a.png"), (160, 96)
    assert np.array_equal(result.convert("RGB"), np.asarray(colours.resize(size, Image.Resampling.NEAREST)))
    assert np.array_equal(result.getchannel("A"), np.asarray(alpha.resize(size, Image.Resampling.BICUBIC)))


@pytest.mark.parametrize("verb", [apply, colorize, translate])
def test_a_result_at_the_photos_size_has_its_very_alpha(verb: ModuleType, call, tmp_path: Path) -> None:
    photo = transparent("RGBA")
    photo.save(tmp_path / "a.png")
    call(verb, tmp_path / "a.png")
    result = Image.open(tmp_path / "out" / "a.png")
    assert np.array_equal(result.getchannel("A"), np.asarray(photo.getchannel("A")))


@pytest.mark.parametrize("given, same_as", [("A_to_B", "AtoB"), ("B_to_A", "BtoA"), (None, "A_to_B")])
def test_a_direction_has_the_published_codes_name_too(given: str | None, same_as: str, call, tmp_path: Path) -> None:
    picture().save(tmp_path / "a.png")
    call(translate, tmp_path / "a.png", **({"direction": given} if given else {}))
    call(translate, tmp_path / "a.png", out="same", direction=same_as)
    call(translate, tmp_path / "a.png", out="other", direction="A_to_B" if given == "B_to_A" else "B_to_A")
    one, same, other = ((tmp_path / folder / "a.png").read_bytes() for folder in ("out", "same", "other"))
    assert one == same != other


REFUSED = {
    "colorize, what does not see lightness": (colorize, apply, {}, "takes edges, not lightness"),
    "upscale, what does not enlarge": (upscale, apply, {}, "takes edges, and answers at the photo's size"),
    "translate, what has one direction": (translate, apply, {"direction": "AtoB"}, "no network 'A_to_B'; it has G"),
}


@pytest.mark.parametrize("row", REFUSED)
def test_what_a_command_cannot_use_is_refused_in_a_line(row: str, call, runs, tmp_path: Path) -> None:
    verb, of, options, said = REFUSED[row]
    picture().save(tmp_path / "a.png")
    code, errors, _ = call(verb, tmp_path / "a.png", run=runs[of], **options)
    assert code == 2 and len(errors) == 1 and said in errors[0] and not (tmp_path / "out").exists()


@pytest.mark.parametrize("inputs, name", [(("image", "z"), "takes image, z, and does not turn images of any size"),
                                          (("vector",), "takes vector, and does not")])
def test_a_network_that_needs_more_than_a_photo_is_refused(inputs, name: str, call, tmp_path: Path,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    network = Enlarged()
    network.about["export"]["inputs"] = inputs
    monkeypatch.setattr(exports, "load", lambda *arguments: network)
    picture().save(tmp_path / "a.png")
    code, errors, _ = call(apply, tmp_path / "a.png")
    assert code == 2 and len(errors) == 1 and name in errors[0]


def test_an_interrupted_call_leaves_no_half_file(call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abc":
        picture().save(tmp_path / f"{name}.png")
    save_whole, count = Image.Image.save, []

    def save_half(image: Image.Image, path: Path, **options: object) -> None:
        count.append(path)
        if len(count) == 2:
            Path(path).write_bytes(b"half")
            raise KeyboardInterrupt
        save_whole(image, path, **options)

    monkeypatch.setattr(Image.Image, "save", save_half)
    assert call(colorize, *(tmp_path / f"{name}.png" for name in "abc")).code == 130
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.png"]


def test_what_stands_in_the_way_of_one_result_stops_no_other(call, tmp_path: Path) -> None:
    for name in "ab":
        picture().save(tmp_path / f"{name}.png")
    (tmp_path / "out" / "a.png").mkdir(parents=True)
    code, errors, _ = call(colorize, *(tmp_path / f"{name}.png" for name in "ab"))
    assert code == 1 and len(errors) == 1 and "a.png cannot be written: Is a directory" in errors[0]
    assert [path.name for path in (tmp_path / "out").iterdir() if path.is_file()] == ["b.png"]


def test_a_photo_whose_answer_would_be_too_large_is_named(call, tmp_path: Path,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    picture(8, 9).save(tmp_path / "a.png")
    monkeypatch.setattr(translation, "_MOST_PIXELS", 32 * 36 - 1)
    code, errors, _ = call(upscale, tmp_path / "a.png")
    assert code == 1 and len(errors) == 1 and "a.png: the result would have 36 x 32 pixels" in errors[0]


def test_a_folder_that_cannot_be_listed_is_named_and_the_others_are_answered(
        call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("album/open", "album/closed"):
        (tmp_path / folder).mkdir(parents=True)
        picture().save(tmp_path / folder / "a.png")
    scan = os.scandir

    def refused(path: str) -> object:       # as permissions do, unless root runs the tests
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refused)
    code, errors, _ = call(colorize, tmp_path / "album")
    monkeypatch.undo()
    assert code == 1 and len(errors) == 1 and "album/closed: Permission denied" in errors[0]
    assert [path.parent.name for path in (tmp_path / "out").rglob("*.png")] == ["open"]


def test_files_that_are_no_images_are_counted_even_if_most_are(call, tmp_path: Path) -> None:
    (tmp_path / "album").mkdir()
    for name in ("1.heic", "2.heic", "3.mov"):
        (tmp_path / "album" / name).write_bytes(b"-")
    picture().save(tmp_path / "album" / "4.png")
    code, errors, warnings = call(colorize, tmp_path / "album")
    assert (code, errors) == (0, []) and len(warnings) == 1 and "3 files (2 .heic, 1 .mov)" in warnings[0]
    shutil.rmtree(tmp_path / "out")
    (tmp_path / "album" / "4.png").unlink()
    code, errors, _ = call(colorize, tmp_path / "album")
    assert code == 1 and len(errors) == 1 and "passed over 3 files" in errors[0] and not (tmp_path / "out").exists()
