"""faces on photos that are not aligned: odd photos of a real face, found by the real detector."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from face_photo import face_photo
from odd_photos import STORED, picture, saved, zipped
from PIL import Image
from small_games import exported

from scalegan import cli
from scalegan.commands import faces
from scalegan.data.spec import Spec
from scalegan.faces import weights
from scalegan.faces.alignment import LANDMARKS, in_square
from scalegan.faces.detection import Detector, Face
from scalegan.faces.identity import Embedding
from scalegan.faces.squares import Squares
from scalegan.pictures import photos
from scalegan.pictures.photos import Photo

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:Corrupt EXIF data")]

ITERATIVE = {"game": {"name": "iterative", "width": 2, "hidden": 6, "latent_dim": 4, "norm_group": 4},
             "data": {"labels": "attributes"}}
SPEC = Spec("image", (3, 32, 32), attributes=3, label_names=("Male", "Smiling", "Young"))


@pytest.fixture(scope="module")
def face() -> Image.Image:
    return Image.fromarray(face_photo())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(ITERATIVE, tmp_path_factory.mktemp("run") / "faces.safetensors", SPEC, factor=8.0)


class Called(NamedTuple):
    code: int
    lines: dict[str, dict]      # by name of the file
    errors: list[str]
    warnings: list[str]


@pytest.fixture
def call(run: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., Called]:
    def command(action: str, *arguments: object) -> Called:
        code = cli.run_verb(faces.main, [action, str(run), *map(str, arguments)])
        said = capfd.readouterr()
        lines = [json.loads(line) for line in said.out.splitlines()]
        return Called(code, {Path(line["file"]).name: line for line in lines},
                      *([line for line in said.err.splitlines() if word in line] for word in ("error:", "warning:")))

    return command


def half(face: Image.Image) -> Image.Image:
    return face.resize((256, 300), Image.Resampling.LANCZOS)


def placed(width: int, height: int, *faces: tuple[Image.Image, tuple[int, int]]) -> Image.Image:
    photo = Image.new("RGB", (width, height), (90, 110, 130))
    for face, place in faces:
        photo.paste(face, place)
    return photo


MOVED: dict[str, tuple[int, Callable[[Image.Image], Image.Image]]] = {
    "reduced": (1, half),
    "turned by 25 degrees": (1, lambda face: face.rotate(25, Image.Resampling.BICUBIC, expand=True)),
    "small in a photo of 6,000 px": (1, lambda face: placed(6000, 700, (face, (5000, 50)))),
    "of 5,120 x 6,000 px": (1, lambda face: face.resize((5120, 6000), Image.Resampling.BICUBIC)),
    "grey": (1, lambda face: face.convert("L")),
    "beside a smaller one": (2, lambda face: placed(800, 600, (half(face), (0, 0)), (face, (270, 0)))),
}


@pytest.mark.parametrize("case", MOVED)
def test_wherever_a_face_is_a_run_sees_the_same_square(case: str, face: Image.Image) -> None:
    count, moved = MOVED[case]
    squares = Squares((1, 32, 32), "center", Detector())
    expected, one = squares(Photo(np.array(face)))
    photo = np.array(moved(face))
    found, number = squares(Photo(photo if photo.ndim == 3 else photo[..., None]))
    middle = np.s_[6:28, 6:26]      # the face itself; around it there may be no more of the photo
    uncut = np.array(face.convert("L").resize((32, 32)))[..., None]
    alike, chance = (np.corrcoef(square[middle].ravel(), expected[middle].ravel())[0, 1] for square in (found, uncut))
    assert (one, number) == (1, count) and alike > 0.75 > 0.25 > chance


def test_of_several_faces_the_one_of_which_most_is_in_the_photo_is_taken(face: Image.Image) -> None:
    photo = Photo(np.array(face))
    whole = Face((150, 100, 350, 300), 0.9, LANDMARKS.astype(np.float32) + 100)
    cut_off = Face((400, 50, 700, 300), 1.0, LANDMARKS.astype(np.float32) + 200)
    found, count = Squares((3, 32, 32), "center", lambda pixels: [cut_off, whole])(photo)
    assert count == 2
    assert np.array_equal(found, Squares((3, 32, 32), "center", lambda pixels: [whole])(photo)[0])
    assert not np.array_equal(found, Squares((3, 32, 32), "center", lambda pixels: [cut_off])(photo)[0])


@pytest.fixture(scope="module")
def album(face: Image.Image, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str], list[str]]:
    """A folder of odd photos, the names of those with a face, and of the others."""
    folder, small = tmp_path_factory.mktemp("photos"), half(face)
    good = {
        **dict.fromkeys(["plain.png", "same.png", "line\nbreak.png", "with spaces \u00e4 \u732b.png"], saved(small)),
        **dict.fromkeys(["UPPER.JPEG", "same.jpg"], saved(small, "JPEG")), "grey.png": saved(small.convert("L")),
        "cmyk.jpg": saved(small.convert("CMYK"), "JPEG"),
        "palette.gif": saved(small.convert("P", palette=Image.Palette.ADAPTIVE), "GIF"),
        "animated.gif": saved(small, "GIF", save_all=True, append_images=[picture()]),
        "sixteen.png": saved(Image.fromarray(np.asarray(small.convert("L")).astype(np.uint16) * 257)),
        "two.jpg": saved(placed(520, 300, (small, (0, 0)), (small.resize((128, 150)), (280, 0))), "JPEG"),
        "wide.jpg": saved(placed(6000, 400, (small, (3000, 50))), "JPEG"),
        "album.zip": zipped({"in zip.png": saved(small), "bad.png": b"no"})}
    clear = small.convert("RGBA")
    clear.putalpha(250)
    good["alpha.png"] = saved(clear)
    for number, how in STORED.items():
        exif = Image.Exif()
        exif[0x0112] = number
        good[f"turned {number}.png"] = saved(small if how is None else small.transpose(how), exif=exif)
    bad = {"ten.png": saved(small.resize((10, 10))), "thin.png": saved(picture(1, 6000)), "no face.png": saved(
        picture(200, 300)), "text.jpg": b"no image", "empty.png": b"", "cut.jpg": saved(small, "JPEG")[:-3000]}
    for name, data in {**good, **bad}.items():
        (folder / name).write_bytes(data)
    (folder / "link.png").symlink_to(folder / "plain.png")
    names = [name for name in good if name != "album.zip"] + ["link.png", "in zip.png"]
    return folder, names, [*bad, "bad.png", "missing.png"]


@pytest.mark.parametrize("action, more", [("recognise", []), ("transform", ["--set", "Smiling=1"])],
                         ids=["recognise", "transform"])
def test_of_odd_photos_those_with_a_face_are_answered_and_the_others_named(
        action: str, more: list[str], album: tuple[Path, list[str], list[str]], call, tmp_path: Path) -> None:
    folder, good, bad = album
    inputs = [folder, folder / "album.zip", folder / "missing.png"]
    code, lines, errors, warnings = call(action, *inputs, "--out", tmp_path / "out", *more)
    assert code == 1 and sorted(lines) == sorted(good) and len(errors) == len(bad)
    assert [name for name in bad if not any(f"/{name}" in line for line in errors)] == []
    assert {name for name in bad for line in errors if f"/{name}" in line and "no face was found" in line} == {
        "ten.png", "thin.png", "no face.png"}
    assert [line for line in warnings if "two.jpg: more than one face was found" in line]
    same = ["plain.png", "line\nbreak.png", "link.png", "in zip.png", *(f"turned {number}.png" for number in STORED)]
    if action == "recognise":
        assert len({json.dumps(lines[name]["attributes"]) for name in same}) == 1
        return
    results = {name: Path(line["result"]) for name, line in lines.items()}
    assert len({results[name].read_bytes() for name in same}) == 1
    assert {results["same.png"].name, results["same.jpg"].name} == {"same.png.png", "same.jpg.png"}
    assert len(set(results.values())) == len(results)
    assert call(action, folder / "wide.jpg", "--out", tmp_path / "alone", *more).code == 0
    assert (tmp_path / "alone" / "wide.png").read_bytes() == results["wide.jpg"].read_bytes()


@pytest.mark.parametrize("how", ["center", "celeba108"])
def test_landmarks_of_a_square_are_where_the_face_has_them(how: str, face: Image.Image) -> None:
    detector = Detector()
    squares = Squares((3, 160, 160), how, detector)
    square, _ = squares(Photo(np.array(face)))
    found = detector(square.copy())[0].landmarks
    assert np.linalg.norm(found - squares.landmarks, axis=1).max() < 0.3 * np.linalg.norm(found[1] - found[0])
    assert how != "center" or np.allclose(squares.landmarks, in_square(160))


def test_a_result_says_how_far_it_is_from_the_photo(face: Image.Image, call, tmp_path: Path) -> None:
    half(face).save(tmp_path / "a.png")
    line = call("rebuild", tmp_path / "a.png", "--out", tmp_path / "out").lines["a.png"]
    square, _ = Squares((3, 32, 32), "center", Detector())(Photo(np.array(half(face))))
    embedding, result = Embedding(), np.asarray(Image.open(line["result"]))
    before, after = (embedding(torch.from_numpy(one.copy()).permute(2, 0, 1)[None], in_square(32))
                     for one in (square, result))
    assert line["identity"] == {"distance": pytest.approx((before - after).norm().item(), abs=1e-4),
                                **embedding.identity}


def test_without_the_extra_a_line_says_how_to_get_it_and_aligned_photos_need_none(
        call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture().save(tmp_path / "a.png")
    monkeypatch.setattr(weights, "find_spec", lambda name: None)
    code, lines, errors, _ = call("recognise", tmp_path / "a.png")
    assert (code, lines, len(errors)) == (1, {}, 1) and errors[0].endswith("pip install 'scalegan[faces]'")
    code, lines, errors, (warning,) = call("rebuild", tmp_path / "a.png", "--aligned", "--out", tmp_path / "out")
    assert (code, errors) == (0, []) and "identity" not in lines["a.png"]
    assert "no identity distances: " in warning and warning.endswith("pip install 'scalegan[faces]'")


def test_the_aligned_face_is_cut_as_asked(face: Image.Image) -> None:
    """celeba108 shows a smaller part of the same face, larger."""
    photo, detector = photos.read(saved(face)), Detector()
    whole, part = (Squares((3, 178, 178), how, detector)(photo)[0] for how in ("center", "celeba108"))
    expected = Image.fromarray(whole[35:143, 35:143]).resize((178, 178), Image.Resampling.LANCZOS)
    assert np.abs(np.asarray(expected).astype(float) - part).mean() < 2
