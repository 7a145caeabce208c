"""Tables of conditions: classes, attributes and real numbers together, from CSV to samples."""

from pathlib import Path

import harness
import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import scalegan
from scalegan.commands import export, prepare, sample
from scalegan.data import captions
from scalegan.data.columns import Columns
from scalegan.data.manifest import Manifest
from scalegan.errors import UsageError, UserError
from scalegan.metrics.generators import samples_of
from scalegan.metrics.images import StoredImages

NAMES = ["kind", "glasses", "age", "angle"]
ROWS = [["cat", "0", "10", "-0.5"], ["dog", "1", "20", "0.25"], ["cat", "1", "60", "1e-1"], ["eel", "0", "30", "0.15"]]


def test_numbers_are_standardised_attributes_are_0_or_1_and_classes_are_one_hot() -> None:
    columns = Columns.fitted(NAMES, ROWS)
    assert [column["kind"] for column in columns.columns] == ["class", "attribute", "number", "number"]
    vectors = columns.vectors(ROWS)
    assert vectors.shape == (4, columns.dim) == (4, 6)
    assert np.array_equal(vectors[:, :4], [[1, 0, 0, 0], [0, 1, 0, 1], [1, 0, 0, 1], [0, 0, 1, 0]])
    assert np.allclose(vectors[:, 4:].mean(0), 0, atol=1e-6) and np.allclose(vectors[:, 4:].std(0), 1, atol=1e-6)
    assert np.array_equal(columns.encode([columns.text(row) for row in ROWS]), vectors)
    again = Columns(columns.description["columns"])
    assert np.array_equal(again.encode(["age=30,kind=dog"]), [[0, 1, 0, 0, 0, 0]])     # 30 is the mean


@pytest.mark.parametrize(("text", "reason"), [
    ("age=40", "'kind' is missing; write kind= and one of cat, dog, eel"),
    ("kind=cot", "no such value; did you mean 'cat'"),
    ("kind=cat, aeg=3", "no 'aeg'; did you mean 'age'"), ("kind=cat, age=old", "age=old is not a finite number"),
    ("kind=cat, age=nan", "age=nan is not a finite number"), ("kind=cat, glasses=2", "not a number from 0 to 1"),
    ("a cat", "'a cat' is not NAME=VALUE; the data has kind, glasses, age, angle"),
    ("kind=cat, kind=dog", "there twice")])
def test_what_no_row_can_be_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Columns.fitted(NAMES, ROWS).encode([text])


@pytest.mark.parametrize(("values", "reason"), [
    (["5", "5.0", "5"], "is 5 for all images"), (["0", "0.0", "0"], "is 0 for all images"),
    (["1e308", "-1e308", "1"], "too large or too close"), (["1", "1e-320", "1e-319"], None),
    (["1e-320", "2e-320", "3e-320"], "too large or too close"), (["31", "NA", "42"], "has NA among its numbers"),
    (["cat", "none", "3"], None), (["none", "all", "none"], None),
    (["none", "-", "none"], None)])
def test_vectors_are_finite_or_the_column_is_refused(values: list[str], reason: str | None) -> None:
    rows = [[value] for value in values]
    if reason is None:
        assert np.isfinite(Columns.fitted(["age"], rows).vectors(rows)).all()
        return
    with pytest.raises(ValueError, match=reason):
        Columns.fitted(["age"], rows)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """24 images in two classes whose brightness is their age."""
    for number in range(24):
        path = tmp_path / "photos" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (10 * number, 10 * number, 255 * (number % 2))).save(path)
    return tmp_path / "photos"


def table(folder: Path, lines: list[str]) -> Path:
    path = folder / "table.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def lines_of(columns: str = "file,age,glasses,coat") -> list[str]:
    return [columns, *(f"{number}.png,{20 + number / 2},{number // 3 % 2},{('red', 'blue')[number // 5 % 2]}"
                       for number in range(24))]


def prepared(photos: Path, lines: list[str], folder: Path, *options: str) -> Path:
    prepare.main([str(photos), str(folder), "--resolution", "16", "--workers", "1", "--conditions",
                  str(table(photos.parent, lines)), *options])
    return folder


@pytest.mark.parametrize(("change", "reason"), [
    (lambda lines: lines[:-1], "has no line for 1 of 24 images, such as"),
    (lambda lines: [*lines, lines[-1]], "line 26: 23.png is there twice"),
    (lambda lines: [*lines[:-1], "23.png,nan,1,red"], "column 'age' has nan; give every image a finite number"),
    (lambda lines: [*lines[:-1], "23.png,,1,red"], "line 25 has no value for 'age'"),
    (lambda lines: [*lines[:-1], "23.png,3,1"], "line 25 has 3 values, not 4"),
    (lambda lines: [lines[0], "", *lines[1:-1], "23.png,3,1"], "line 26 has 3 values, not 4"),
    (lambda lines: [*lines[:-1], "b/22.png,3,1,red"], "line 25: folder: photos has no image b/22.png"),
    (lambda lines: [*lines[:-1], "32.png,3,1,red"], "line 25: folder: photos has no image 32.png"),
    (lambda lines: ["file,age,age,coat", *lines[1:]], "line 1: the name 'age'"),
    (lambda lines: ["file,class,glasses,coat", *lines[1:]], "a label 'class' too"),
    (lambda lines: [line.split(",")[0] for line in lines], "only one column"),
    (lambda lines: lines[:1], "has no rows"),
    (lambda lines: [lines[0], *(",".join([*line.split(",")[:3], "red"]) for line in lines[1:])],
     "is red for all images"),
    (lambda lines: [lines[0], *(f"{line}{number}" for number, line in enumerate(lines[1:]))], "24 different texts")])
def test_a_table_that_does_not_fit_is_refused_in_a_line(change, reason: str, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=reason) as raised:
        prepared(photos, change(lines_of()), tmp_path / "set")
    assert "\n" not in str(raised.value) and not (tmp_path / "set" / "manifest.json").exists()


def test_tables_and_captions_are_two_things(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        prepared(photos, lines_of(), tmp_path / "set", "--captions", str(tmp_path / "x.jsonl"))
    with pytest.raises(UserError, match="does not exist"):
        prepare.main([str(photos), str(tmp_path / "set"), "--conditions", str(tmp_path / "none.csv")])


@pytest.mark.slow
def test_a_run_learns_from_a_table_and_samples_by_it(photos: Path, tmp_path: Path) -> None:
    data = prepared(photos, lines_of(), tmp_path / "set")
    found = captions.read(data, Manifest.load(data).labels.vectors)
    assert [column["name"] for column in found.encoder["columns"]] == ["class", "age", "glasses", "coat"]
    assert found.vectors.shape == (24, 6) and found.texts[0] == "class=a, age=20.0, glasses=0, coat=red"
    digests = {}
    for world in (1, 2):
        recipe = {"game": {"name": "gan", "loss": "non_saturating"}, "optimizer": {"default": {"lr": 1e-3}},
                  "model": {"name": "dcgan", "width": 4, "norm_group": 2}, "batch_size": 4, "lanes": 2,
                  "micro_batch_size": 2, "total_images": 16, "run_dir": str(tmp_path / f"run{world}"),
                  "data": {"path": str(data), "resolution": 16, "labels": "vectors", "workers": 0},
                  "engine": {"reduction": "tree"}, "snapshot": {"every_images": 16, "rows": 2, "columns": 2},
                  "precision": "fp32"}
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
        harness.launch(world, f"recipe={tmp_path / 'recipe.yaml'}")
        digests[world] = harness.digest(tmp_path / f"run{world}")
    assert digests[1] == digests[2]
    assert (tmp_path / "run1" / "captions.txt").read_text().startswith("column 1: class=")

    export.main([str(tmp_path / "run1"), "--out", str(tmp_path / "G.safetensors")])
    for source in (tmp_path / "run1", tmp_path / "G.safetensors"):
        pictures = []
        for condition in ("class=a, coat=red, age=20", "class=a, coat=red, age=31", "class=b, coat=red, age=20",
                          "class=a, coat=red, age=20, glasses=1"):
            out = tmp_path / "out" / condition
            sample.main([str(source), "--condition", condition, "--seeds", "0-1", "--out", str(out)])
            pictures.append(np.array(Image.open(out / "seed000001.png")).astype(int))
        assert all((pictures[0] != other).any() for other in pictures[1:])     # each part of the vector counts
    with pytest.raises(UsageError, match="--condition: 'class' is missing"):
        sample.main([str(source), "--condition", "age=3", "--out", str(tmp_path / "out")])

    export.main([str(tmp_path / "G.safetensors"), "--out", str(tmp_path / "G.ts")])     # compares its outputs

    other = prepared(photos, [line.replace("20.0", "90.0") for line in lines_of()], tmp_path / "other")
    generator = scalegan.load(tmp_path / "G.safetensors")
    samples, _ = samples_of(generator, 8, StoredImages(data))
    assert samples.draw(np.arange(8)).dtype == torch.uint8
    with pytest.raises(UserError, match="has conditions as other vectors"):
        samples_of(generator, 8, StoredImages(other))
