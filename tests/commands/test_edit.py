"""`scalegan directions` and `scalegan edit`: of runs and exports, pictures, and one line for what does not fit."""

from pathlib import Path

import numpy as np
import pytest
import torch
from harness import make_set
from PIL import Image
from small_generators import generator, saved

import scalegan
from scalegan.checkpoints import exports
from scalegan.commands import directions, edit, export
from scalegan.errors import UsageError, UserError
from scalegan.latents import directions as files
from scalegan.latents.edit import Term, arithmetic, parsed
from scalegan.latents.space import Space
from scalegan.pictures import grids
from scalegan.probing import classifier


@pytest.fixture(scope="module")
def found(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of SeFa's directions of the run."""
    path = tmp_path_factory.mktemp("directions") / "sefa.safetensors"
    assert directions.main([str(finished_run), "--unsupervised", "sefa", "--out", str(path)]) == 0
    return path


def picture(run: Path, out: Path, *arguments: object) -> np.ndarray:
    assert edit.main([str(run), "--out", str(out), *map(str, arguments)]) == 0
    return np.array(Image.open(out))


def cell(strip: np.ndarray, row: int, column: int) -> np.ndarray:
    """An image of 16 px, enlarged four times, below the line of captions."""
    top, left = 12 + 4 * (2 + row * 18), 4 * (2 + column * 18)
    return strip[top : top + 64 : 4, left : left + 64 : 4]


@pytest.mark.slow
def test_a_row_for_each_seed_the_plain_sample_in_the_middle_and_the_same_of_an_export(
        finished_run: Path, found: Path, tmp_path: Path) -> None:
    whole = tmp_path / "export.safetensors"
    export.main([str(finished_run), "--out", str(whole)])
    asked = ("--directions", found, "--direction", "0=+2", "--classes", "b,c")
    strip = picture(finished_run, tmp_path / "run.png", *asked, "--seeds", "5,6,7")
    assert strip.shape == (12 + 4 * (2 + 3 * 18), 4 * (2 + 5 * 18), 3)
    assert (picture(whole, tmp_path / "export.png", *asked, "--seeds", "5,6,7") == strip).all()
    samples = grids.pixels_of(exports.sample(scalegan.load(finished_run), [5, 6, 7], torch.tensor([1, 2, 1]), 1.0))
    for row in range(3):
        assert np.abs(cell(strip, row, 2).astype(int) - samples[row]).max() <= 1
        steps = [np.abs(cell(strip, row, i + 1).astype(int) - cell(strip, row, i)).mean() for i in range(4)]
        assert min(steps) > 0
    alone = picture(finished_run, tmp_path / "alone.png", *asked, "--seeds", "5")
    assert np.abs(cell(alone, 0, 4).astype(int) - cell(strip, 0, 4)).max() <= 1
    asked = ("--directions", found, "--direction", "0=-2", "--classes", "b,c")
    back = picture(finished_run, tmp_path / "back.png", *asked, "--seeds", "5,6,7")
    assert np.abs(cell(back, 1, 0).astype(int) - cell(strip, 1, 4)).max() <= 1


@pytest.mark.slow
def test_directions_by_labels_lie_beside_an_export_and_move_together(tiny_set: Path, tmp_path: Path,
                                                                     monkeypatch: pytest.MonkeyPatch,
                                                                     capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(classifier, "_SHOWN", 640)
    run = saved("DCGAN", tmp_path / "digits.safetensors")
    assert directions.main([str(run), "--data", str(tiny_set), "--num-samples", "300"]) == 0
    beside = tmp_path / "digits.directions.safetensors"
    assert capsys.readouterr().out.splitlines()[-1] == str(beside)
    names = directions_of(beside)
    assert set(names) <= set("abcd") and names
    both = picture(run, tmp_path / "both.png", "--direction", f"{names[0]}=+2", "--direction", f"{names[-1]}=+1.5",
                   "--seeds", "0")
    one = picture(run, tmp_path / "one.png", "--direction", f"{names[0]}=+2", "--seeds", "0")
    assert (cell(both, 0, 2) == cell(one, 0, 2)).all() and (cell(both, 0, 4) != cell(one, 0, 4)).any()


def directions_of(path: Path) -> tuple[str, ...]:
    return files.read(path).header.names


@pytest.mark.slow
@pytest.mark.parametrize("name", ["BiGAN", "AAE with classes", "AVB"])
def test_an_encoder_reads_the_images(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(classifier, "_train")       # nothing is trained
    run, side = saved(name, tmp_path / "run.safetensors"), generator(name).about["spec"]["shape"][-1]
    data = make_set(tmp_path / "set", (64,), size=side)
    assert directions.main([str(run), "--data", str(data)]) == 0
    assert directions_of(tmp_path / "run.directions.safetensors") == tuple("abcd")
    picture(run, tmp_path / "x.png", "--direction", "a=+1", "--seeds", "0,1")


def test_arithmetic_adds_and_subtracts_means_of_latents() -> None:
    assert parsed("0,1,2 - 3 + 6-8") == [Term(1, (0, 1, 2)), Term(-1, (3,)), Term(1, (6, 7, 8))]
    space = Space(generator("DCGAN"))
    made = arithmetic(space, parsed("0,1 - 0,1 + 2"))
    plain = exports.sample(space.generator, [0, 1, 2], None, 1.0)
    torch.testing.assert_close(made.results[0], plain[2], rtol=0, atol=1e-5)
    torch.testing.assert_close(made.samples[0], plain[:2], rtol=0, atol=1e-5)
    torch.testing.assert_close(made.means[2], plain[2], rtol=0, atol=1e-5)
    middle = space.images(space.of_seeds([0, 1]).mean(0, keepdim=True))[0]
    torch.testing.assert_close(made.means[0], middle, rtol=0, atol=1e-5)
    apart = (made.results[1:] - made.results[0]).flatten(1).norm(dim=1)
    assert len(apart) == 8 and (apart > 0).all() and apart.max() < (plain[2] - plain[0]).norm()


@pytest.mark.parametrize("name", ["DCGAN with classes", "StyleGAN2"])
def test_the_picture_of_arithmetic(name: str, tmp_path: Path) -> None:
    run = saved(name, tmp_path / "run.safetensors")
    sheet = picture(run, tmp_path / "x.png", "--arithmetic", "0,1 - 2,3 + 4,5")
    label = torch.tensor([0, 0]) if "classes" in name else None
    first = grids.pixels_of(exports.sample(generator(name), [0, 1], label, 1.0))
    assert np.abs(sheet[16:80:4, 2:66:4].astype(int) - first[0]).max() <= 1
    assert sheet.shape == (14 + 2 * 66 + 14 + 66 + 2, 3 * 66 + 14 + 3 * 66 + 2, 3)


WRONG = {
    "nothing to do": ("RUN", UsageError, "name what to do"),
    "both": ("RUN --direction 0=1 --arithmetic 1", UsageError, "name what to do"),
    "no amount": ("RUN --direction Smiling", UsageError, "such as Smiling=.2"),
    "an amount of zero": ("RUN --direction Smiling=0", UsageError, "such as Smiling=.2"),
    "twice": ("RUN --direction 0=1 --direction 0=2", UsageError, "given twice"),
    "a name that is not there": ("RUN --direction 11=1 --directions FOUND", UsageError, "did you mean '1'"),
    "no directions yet": ("EXPORT --direction 0=1", UserError, "has no directions yet; find some with"),
    "of another network": ("EXPORT --direction 0=1 --directions FOUND", UserError, "directions of other weights"),
    "a picture for a file": ("RUN --direction 0=1 --directions PICTURE", UserError, "is not a file that `scalegan"),
    "a picture for a run": ("PICTURE --direction 0=1", UserError, "is not a generator that"),
    "an encoder": ("BIGAN --network encode --direction 0=1", UsageError, "takes image, not seeds"),
    "points": ("POINTS --arithmetic 1", UserError, "2-D points"),
    "seeds with arithmetic": ("RUN --arithmetic 1 --seeds 2", UsageError, "leave out --seeds"),
    "no spaces": ("RUN --arithmetic 1+2", UsageError, "with spaces around"),
    "a sign at the end": ("RUN --arithmetic 1,-", UsageError, "with spaces around"),
    "too many": ("RUN --arithmetic 0-9999", UsageError, "at most 5,000"),
    "too many rows": ("RUN --direction 0=1 --directions FOUND --seeds 0-9999", UsageError, "at most 1,000"),
    "two classes in arithmetic": ("RUN --arithmetic 1 --classes 0,1", UsageError, "takes one class"),
    "an unknown class": ("RUN --direction 0=1 --directions FOUND --classes z", UsageError, "classes of .* are 0 to 3"),
    "truncation": ("RUN --arithmetic 1 --psi 0.5", UsageError, "no truncation"),
}


@pytest.fixture(scope="module")
def places(finished_run: Path, found: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("places")
    Image.new("RGB", (8, 8)).save(folder / "x.png")
    unlabelled = folder / "photos"
    unlabelled.mkdir()
    for number in range(3):
        Image.new("RGB", (16, 16), (number, 90, 80)).save(unlabelled / f"{number}.png")
    from scalegan.data.spec import Spec
    from scalegan.models import mlp

    points = exports.of_model(mlp.Generator(), {"name": "mlp"}, Spec("points", (2,)), 0)
    exports.save(points, folder / "points.safetensors")
    made = {"RUN": finished_run, "FOUND": found, "PICTURE": folder / "x.png", "PHOTOS": unlabelled,
            "POINTS": folder / "points.safetensors", "EXPORT": saved("DCGAN", folder / "export.safetensors"),
            "BIGAN": saved("BiGAN", folder / "bigan.safetensors")}
    return {name: str(path) for name, path in made.items()}


@pytest.mark.slow
@pytest.mark.parametrize("slip", WRONG)
def test_slips_of_edit(slip: str, places: dict[str, str], tmp_path: Path) -> None:
    line, error, says = WRONG[slip]
    with pytest.raises(error, match=says) as caught:
        edit.main([*(places.get(word, word) for word in line.split()), "--out", str(tmp_path / "x.png")])
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("line, says", [
    ("EXPORT --data PHOTOS", "has no labels"), ("EXPORT --data PICTURE", "is not a folder, a zip or a tar"),
    ("EXPORT --data nowhere", "nowhere does not exist"), ("BIGAN --data TINY", "has images of 16 x 16 px, 3 channels"),
    ("EXPORT --data embedded:mnits", "did you mean 'mnist'"), ("PICTURE --unsupervised sefa", "is not a generator"),
    ("POINTS --unsupervised sefa", "2-D points"), ("BIGAN --unsupervised sefa --network encode", "takes image"),
], ids=["no labels", "a picture", "no such set", "another size", "a misspelt set", "a picture for a run", "points",
        "a network of images"])
def test_slips_of_directions(line: str, says: str, places: dict[str, str], tiny_set: Path, tmp_path: Path) -> None:
    words = [(places | {"TINY": str(tiny_set)}).get(word, word) for word in line.split()]
    with pytest.raises(UserError, match=says) as caught:
        directions.main([*words, "--out", str(tmp_path / "x.safetensors")])
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_name_in_two_files_is_asked_for(places: dict[str, str], tmp_path: Path) -> None:
    run = saved("DCGAN", tmp_path / "run.safetensors")
    for kind in ("sefa", "ganspace"):
        directions.main([str(run), "--unsupervised", kind, "--num-samples", "64"])
    with pytest.raises(UsageError, match="both have it; choose one with --directions"):
        edit.main([str(run), "--direction", "0=+1", "--out", str(tmp_path / "x.png")])
    assert not (tmp_path / "x.png").exists()


@pytest.mark.slow
def test_a_stale_file_does_not_matter_where_another_has_the_name(tmp_path: Path) -> None:
    run = saved("DCGAN", tmp_path / "run.safetensors")
    directions.main([str(run), "--unsupervised", "sefa"])
    other = Space(generator("DCGAN with classes"))
    stale = files.of(other, "test", {"x": torch.ones(12)}, other.drawn(64, "test")[0])
    stale.save(tmp_path / "run.directions.safetensors")
    picture(run, tmp_path / "x.png", "--direction", "9=+1")
    with pytest.raises(UserError, match="directions of other weights"):
        edit.main([str(run), "--direction", "x=+1", "--out", str(tmp_path / "y.png")])
