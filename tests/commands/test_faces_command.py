"""faces: odd photos, what answers are of, which networks can answer, and new faces with given attributes."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from harness import make_set
from odd_photos import BAD, GOOD, STORED, picture, saved, transparent, write_odd, zipped
from PIL import Image
from small_games import STARGAN, exported

import scalegan
from scalegan import cli
from scalegan.averages.label_summary import having
from scalegan.checkpoints import exports
from scalegan.commands import faces, sample
from scalegan.data import picture as pictures
from scalegan.data.manifest import Manifest
from scalegan.data.pixels import from_levels, to_uint8
from scalegan.data.spec import Spec
from scalegan.faces import sheets, weights
from scalegan.faces.squares import crop_of

pytestmark = pytest.mark.filterwarnings("ignore:Corrupt EXIF data")

NAMES = ("Male", "Smiling", "Black_Hair", "Blond_Hair", "Young")
SPEC = Spec("image", (3, 32, 32), attributes=5, label_names=NAMES)
ITERATIVE = {"game": {"name": "iterative", "width": 2, "hidden": 6, "latent_dim": 4, "norm_group": 4},
             "data": {"labels": "attributes"}}
DCGAN = {"name": "dcgan", "width": 4, "latent_dim": 4, "norm_group": 4}
RECORDS = ["10010", "01101", "01010", "11100"]
FILES: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
    "all": (ITERATIVE, {"labels": [f"{int(row, 2):x}" for row in RECORDS]}),
    **{name: (ITERATIVE, {"only": [name]}) for name in ("G", "recognise", "encode", "transform")},
    "stargan": ({"game": {"name": "stargan", "attributes": ["Smiling", "Male", "Blond_Hair"]}, "model": STARGAN,
                 "data": {"labels": "attributes"}}, {}),
    "stargan's G": ({"game": {"name": "stargan"}, "model": STARGAN, "data": {"labels": "attributes"}}, {"only": ["G"]}),
    "acgan": ({"game": {"name": "acgan"}, "model": DCGAN, "data": {"labels": "attributes"}}, {}),
    "acgan's G": ({"game": {"name": "acgan"}, "model": DCGAN, "data": {"labels": "attributes"}}, {"only": ["G"]}),
    "cgan": ({"game": {"name": "cgan"}, "data": {"labels": "attributes"}}, {}),
    "dcgan": ({"game": {"name": "gan"}, "model": DCGAN}, {}),
}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes exports by name, of untrained networks with large weights."""
    folder = tmp_path_factory.mktemp("exports")

    def of(name: str) -> Path:
        keys, about = FILES[name]
        path = folder / f"{name}.safetensors"
        return path if path.exists() else exported(keys, path, SPEC if "data" in keys else replace(SPEC, attributes=0),
                                                   factor=8.0, **about)

    return of


@pytest.fixture(autouse=True)
def without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Aligned photos and new faces need no packages for faces."""
    monkeypatch.setattr(weights, "find_spec", lambda name: None)


class Called(NamedTuple):
    code: int
    lines: list[dict[str, Any]]
    errors: list[str]
    warnings: list[str]


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str]) -> Callable[..., Called]:
    def command(*arguments: object) -> Called:
        code = cli.run_verb(faces.main, [str(argument) for argument in arguments])
        said = capfd.readouterr()
        lines = said.err.splitlines()
        return Called(code, [json.loads(line) for line in said.out.splitlines()],
                      *([line for line in lines if word in line] for word in ("error:", "warning:")))

    return command


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# --- photos that are faces already ------------------------------------------------------------------------------------

@pytest.mark.slow
@pytest.mark.parametrize("action, more", [("recognise", []), ("rebuild", []), ("transform", ["--set", "Smiling=1"])],
                         ids=["recognise", "rebuild", "transform"])
def test_of_many_odd_files_the_good_ones_are_answered_and_the_others_named(
        action: str, more: list[str], call, file, tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    write_odd(photos)
    (photos / "picture.png").write_bytes(saved(picture()))
    (tmp_path / "album.zip").write_bytes(zipped({"x/y.png": saved(picture()), "bad.png": b"no"}))
    (tmp_path / "empty").mkdir()
    before = contents(photos)
    missing = [tmp_path / "missing.png", tmp_path / "empty"]
    command = [action, file("all"), photos, tmp_path / "album.zip", *missing, "--aligned", *more, "--out"]
    called = call(*command, out)

    named = [*BAD, "missing.png", "empty", "album.zip/bad.png"]
    assert called.code == 1 and len(called.errors) == len(named)
    assert [name for name in named if not any(re.search(rf"/{re.escape(name)}\b", line) for line in called.errors)] \
        == []
    answered = [line["file"] for line in called.lines]
    assert len(answered) == len(GOOD) + 2 and answered[-1] == f"{tmp_path / 'album.zip'}/x/y.png"
    assert answered == [line["file"] for line in map(json.loads, (out / "faces.jsonl").read_text().splitlines())]
    assert Image.open(out / "picture_2.png").width > 128
    if action != "recognise":
        results = {line["file"]: line["result"] for line in called.lines}
        assert len(set(results.values())) == len(results)
        assert {(Image.open(path).size, Image.open(path).mode) for path in results.values()} == {((32, 32), "RGB")}
        upright = {Path(results[f"{photos}/turned {number}.png"]).read_bytes() for number in STORED}
        assert upright == {Path(results[f"{photos}/a.png"]).read_bytes()}
        assert len({Path(path).read_bytes() for path in results.values()}) > 5
    assert contents(photos) == before

    assert call(*command, tmp_path / "twice")[2] == called.errors
    again, first = contents(tmp_path / "twice"), contents(out)
    assert again.keys() == first.keys()
    assert [name for name in first if name != "faces.jsonl" and first[name] != again[name]] == []
    alone = call(action, file("all"), photos / "tall.png", "--aligned", *more, "--out", tmp_path / "alone")
    line = next(line for line in called.lines if line["file"] == str(photos / "tall.png"))
    assert alone.lines[0].get("attributes") == line.get("attributes")
    assert action == "recognise" or (tmp_path / "alone" / "tall.png").read_bytes() == first["tall.png"]


def test_recognise_writes_nothing_without_out(call, file, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture().save(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    code, (line,), errors, warnings = call("recognise", file("all"), "a.png", "--aligned")
    assert (code, errors, warnings) == (0, [], []) and line["file"] == "a.png" and tuple(line["attributes"]) == NAMES
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_a_picture_that_does_not_show_all_says_so(call, file, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheets, "most_shown", lambda side, columns: 2)
    for name in "abc":
        picture().save(tmp_path / f"{name}.png")
    code, lines, errors, warnings = call("recognise", file("all"), *(tmp_path / f"{name}.png" for name in "abc"),
                                         "--aligned", "--out", tmp_path / "out")
    assert (code, len(lines), errors) == (0, 3, []) and len(warnings) == 1 and "the first 2 of 3 photos" in warnings[0]
    assert len((tmp_path / "out" / "faces.jsonl").read_text().splitlines()) == 3


@pytest.mark.parametrize("crop", ["center", "celeba178", "celeba108"])
def test_an_image_of_celeba_is_cut_and_reduced_as_prepare_does(crop: str, call, file, tmp_path: Path) -> None:
    pixels = np.asarray(picture(218, 178))
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (line,) = call("recognise", file("all"), tmp_path / "a.png", "--aligned", "--crop", crop).lines
    square = pictures.resize(pictures.crop(pixels, crop), 32, 3, "lanczos")
    chances = scalegan.load(file("all"), "recognise")(image_of(square))[0]
    assert list(line["attributes"].values()) == pytest.approx(chances.tolist(), abs=5e-5)


def image_of(square: np.ndarray) -> torch.Tensor:
    return from_levels(torch.from_numpy(square.copy()).permute(2, 0, 1)[None])


def test_a_transparent_photo_is_seen_on_white_and_grey_in_colour(call, file, tmp_path: Path) -> None:
    photo = transparent("RGBA")
    photo.save(tmp_path / "clear.png")
    white = Image.alpha_composite(Image.new("RGBA", photo.size, "white"), photo).convert("RGB")
    white.save(tmp_path / "white.png")
    picture(mode="L").save(tmp_path / "grey.png")
    picture(mode="L").convert("RGB").save(tmp_path / "equal.png")
    lines = call("recognise", file("all"), *(tmp_path / f"{name}.png" for name in ("clear", "white", "grey", "equal")),
                 "--aligned").lines
    clear, on_white, grey, equal = (list(line["attributes"].values()) for line in lines)
    assert clear == pytest.approx(on_white, abs=0.01) and grey == equal and clear != grey


TRANSFORMED = {
    "one attribute, others as recognised": ("Smiling=1", {"Smiling": 1}),
    "several with strengths": ("Smiling=0.25,Male=0", {"Smiling": 0.25, "Male": 0}),
    "a hair colour clears the other": ("Blond_Hair=1", {"Blond_Hair": 1, "Black_Hair": 0}),
    "unless that is named": ("Blond_Hair=1,Black_Hair=0.5", {"Blond_Hair": 1, "Black_Hair": 0.5}),
}


@pytest.mark.parametrize("case", TRANSFORMED)
def test_a_transformed_face_has_what_is_set_and_keeps_what_is_recognised(case: str, call, file, tmp_path: Path,
                                                                        ) -> None:
    asked, expected = TRANSFORMED[case]
    Image.fromarray(square := np.asarray(picture(32, 32))).save(tmp_path / "a.png")
    (line,) = call("transform", file("all"), tmp_path / "a.png", "--aligned", "--set", asked, "--out",
                   tmp_path / "out").lines
    assert line["set"] == {name: float(value) for name, _, value in (one.partition("=") for one in asked.split(","))}
    attributes = scalegan.load(file("all"), "recognise")(image_of(square))
    kept = attributes.clone()
    for name, value in expected.items():
        attributes[:, NAMES.index(name)] = value
    transform = scalegan.load(file("all"), "transform")
    made = [to_uint8(transform(image_of(square), each))[0].permute(1, 2, 0).numpy() for each in (attributes, kept)]
    assert np.array_equal(np.asarray(Image.open(line["result"])), made[0]) and not np.array_equal(*made)


ABLE = {
    "recognise, by a file with this network alone": ("recognise", "recognise", NAMES),
    "recognise, by one that encodes": ("encode", "recognise", NAMES),
    "recognise, by one that transforms": ("transform", "recognise", NAMES),
    "rebuild, by one that transforms": ("transform", "rebuild", None),
    "transform, by a file with this network alone": ("transform", "transform", None),
    "recognise, by StarGAN's classifier": ("stargan", "recognise", ("Smiling", "Male", "Blond_Hair")),
    "rebuild, by StarGAN": ("stargan", "rebuild", None),
    "transform, by StarGAN": ("stargan", "transform", None),
    "recognise, by AC-GAN's classifier": ("acgan", "recognise", NAMES),
}


@pytest.mark.parametrize("case", ABLE)
def test_files_with_less_and_other_games_answer_what_they_can(case: str, call, file, tmp_path: Path) -> None:
    name, action, names = ABLE[case]
    picture().save(tmp_path / "a.png")
    more = ["--set", "Smiling=1"] if action == "transform" else []
    code, (line,), errors, _ = call(action, file(name), tmp_path / "a.png", "--aligned", "--out", tmp_path / "out",
                                    *more)
    assert (code, errors) == (0, []) and tuple(line.get("attributes", names or ())) == (names or ())
    if action != "recognise":
        whole = "all" if name == "transform" else name
        call(action, file(whole), tmp_path / "a.png", "--aligned", "--out", tmp_path / "whole", *more)
        assert contents(tmp_path / "whole")["a.png"] == contents(tmp_path / "out")["a.png"]


REFUSED = {
    "G alone recognises nothing": ("G", ["recognise"], "holds G, not 'recognise'", "export RUN --network recognise`"),
    "what recognises changes nothing": ("recognise", ["rebuild"], "holds recognise, not 'transform'",
                                        "export RUN --network transform`"),
    "StarGAN without its classifier": ("stargan's G", ["transform", "--set", "Smiling=1"], "holds G, not 'C'",
                                       "`scalegan export RUN`"),
    "AC-GAN without its classifier": ("acgan's G", ["recognise"], "holds G, not 'C'", "export RUN --network C`"),
    "AC-GAN changes nothing": ("acgan", ["rebuild"], "game.name=acgan, which does not change photos",
                               "game.name=iterative, or stargan"),
    "CGAN recognises nothing": ("cgan", ["recognise"], "which does not recognise photos", "stargan or acgan"),
    "no attributes": ("dcgan", ["recognise"], "has no attributes", "recipe=iterative_celeba"),
    "an unknown attribute": ("all", ["transform", "--set", "Smilling=1"], "--set: the network has no attribute "
                             "'Smilling'; did you mean 'Smiling'?", "it has Male, Smiling"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_file_cannot_do_is_refused_in_a_line_with_the_remedy(case: str, call, file, tmp_path: Path) -> None:
    name, (action, *more), said, remedy = REFUSED[case]
    picture().save(tmp_path / "a.png")
    code, lines, errors, _ = call(action, file(name), tmp_path / "a.png", "--aligned", "--out", tmp_path / "out", *more)
    assert (code, lines, len(errors)) == (2, [], 1) and said in errors[0] and remedy in errors[0]
    assert not (tmp_path / "out").exists()


def test_photos_in_the_folder_of_results_are_never_overwritten(call, file, tmp_path: Path) -> None:
    for path in ("album/picture.png", "album/sub/b.png"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        picture().save(tmp_path / path)
    before = contents(tmp_path)
    for out in ("album", "album/sub"):
        code, lines, errors, _ = call("rebuild", file("all"), tmp_path / "album", "--aligned", "--out", tmp_path / out)
        assert (code, lines, len(errors)) == (2, [], 1) and "name a folder apart from INPUT" in errors[0]
    assert contents(tmp_path) == before


@pytest.mark.parametrize("crop, content, found", [("celeba108", "same", "celeba108"), ("none", "same", "center"),
                                                  ("celeba108", "other", "center")],
                         ids=["of the run's data", "of none that applies", "of data that has changed"])
def test_the_crop_is_that_of_the_runs_data(crop: str, content: str, found: str, tmp_path: Path) -> None:
    manifest = Manifest.load(make_set(tmp_path / "set", (8,)))
    replace(manifest, image=replace(manifest.image, crop=crop)).save(tmp_path / "set")
    data = {"path": str(tmp_path / "set"), "content": manifest.content if content == "same" else content}
    assert crop_of({"recipe": {"data": data}}) == found
    assert crop_of({"recipe": {"data": {"path": str(tmp_path / "gone")}}}) == "center"


# --- new faces --------------------------------------------------------------------------------------------------------

ASKED = {
    "nothing": ("", {}, RECORDS), "one that is there": ("Smiling", {"Smiling": 1}, RECORDS[1:]),
    "one there, one not": ("Smiling,!Male", {"Smiling": 1, "Male": 0}, RECORDS[1:3]),
    "half a smile": ("Smiling=0.5", {"Smiling": 0.5}, RECORDS),
    "what no record has": ("Young,Male", {"Young": 1, "Male": 1}, RECORDS),
    "a hair colour": ("!Young,Blond_Hair", {"Young": 0, "Blond_Hair": 1, "Black_Hair": 0}, [RECORDS[0], RECORDS[2]]),
}


@pytest.mark.parametrize("case", ASKED)
def test_new_faces_have_what_is_asked_for_and_else_the_attributes_of_a_record_that_fits(
        case: str, call, file, tmp_path: Path) -> None:
    asked, expected, records = ASKED[case]
    code, lines, errors, warnings = call("generate", file("all"), "--seeds", "0-15", "--out", tmp_path,
                                         *(["--attributes", asked] if asked else []))
    assert (code, errors, warnings) == (0, [], []) and [line["seed"] for line in lines] == list(range(16))
    of_records = [dict(zip(NAMES, map(float, row))) | expected for row in records]
    assert all(line["attributes"] in of_records for line in lines)
    assert len({tuple(line["attributes"].values()) for line in lines}) == len({tuple(d.values()) for d in of_records})
    labels = torch.tensor([list(line["attributes"].values()) for line in lines])
    images = to_uint8(exports.sample(scalegan.load(file("all"), "G"), list(range(16)), labels, 1.0))
    for line, image in zip(lines, images):
        assert np.array_equal(np.asarray(Image.open(line["result"])), image.permute(1, 2, 0))
    alone = call("generate", file("all"), "--seeds", "7", "--out", tmp_path / "alone",
                 *(["--attributes", asked] if asked else []))
    assert alone.lines[0]["attributes"] == lines[7]["attributes"]
    assert (tmp_path / "alone" / "seed000007.png").read_bytes() == (tmp_path / "seed000007.png").read_bytes()


@pytest.mark.parametrize("name", ["G", "acgan", "cgan"])
def test_any_generator_with_attributes_will_do_and_says_if_it_knows_no_records(name: str, call, file, tmp_path: Path,
                                                                              ) -> None:
    code, lines, errors, (warning,) = call("generate", file(name), "--attributes", "Smiling,Young=0.5", "--seeds",
                                           "0-3", "--out", tmp_path / "faces")
    assert (code, errors) == (0, []) and "those not named are 0" in warning
    assert [line["attributes"] for line in lines] == 4 * [dict.fromkeys(NAMES, 0.0) | {"Smiling": 1.0, "Young": 0.5}]
    sample.main([str(file(name)), "--classes", "Smiling", "--seeds", "0-3", "--out", str(tmp_path / "samples")])
    assert contents(tmp_path / "samples").keys() == contents(tmp_path / "faces").keys()


NOT_GENERATED = {
    "an unknown attribute": ("all", "Smiling,!Mail", "--attributes: the network has no attribute 'Mail'; did you mean "
                             "'Male'?"),
    "a file without G": ("transform", "Smiling", "not seeds; `scalegan export RUN --network G` of its run makes"),
    "a network that takes images": ("stargan", "Smiling", "takes image, condition, not seeds"),
    "a network without attributes": ("dcgan", "Smiling", "has no attributes"),
}


@pytest.mark.parametrize("case", NOT_GENERATED)
def test_what_cannot_be_generated_is_refused_in_a_line(case: str, call, file, tmp_path: Path) -> None:
    name, asked, said = NOT_GENERATED[case]
    code, lines, errors, _ = call("generate", file(name), "--attributes", asked, "--out", tmp_path / "out")
    assert (code, lines, len(errors)) == (2, [], 1) and said in errors[0] and not (tmp_path / "out").exists()


def test_of_a_summary_those_records_are_kept_that_fit() -> None:
    rows = FILES["all"][1]["labels"]
    assert having(rows, SPEC, {0: 1.0, 4: 0.0}) == [rows[0], rows[3]]
    assert having(rows, SPEC, {1: 0.5}) == rows == having(rows, SPEC, {0: 1.0, 4: 1.0})
    assert having(None, SPEC, {0: 1.0}) is None
