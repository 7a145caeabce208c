"""What a folder or zip holds besides images with classes: said in the opening line, or a stop with a remedy."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import sources_made as made

from scalegan.commands.prepare import main
from scalegan.data.preparing.sources import guess_kind, open_source
from scalegan.data.preparing.sources.base import Listed
from scalegan.data.preparing.sources.survey import are_splits
from scalegan.data.reading.folder import FolderReader
from scalegan.errors import UserError
from scalegan.metrics.images import open_images

JPEG = made.encoded(made.pixels(0))


def layout(path: Path, files: dict[str, int], zipped: bool = False) -> Path:
    """`{"cat/*.jpg": 3, "empty/": 0}` as a folder or a zip."""
    content = {pattern.replace("*", f"{pattern.count('/')}{i}"): JPEG for pattern, count in files.items()
               for i in range(count)}
    empty = [pattern for pattern in files if pattern.endswith("/")]
    if zipped:
        made.write_zip(path.with_suffix(".zip"), content)
        with zipfile.ZipFile(path.with_suffix(".zip"), "a") as archive:
            for name in empty:
                archive.writestr(name, b"")
        return path.with_suffix(".zip")
    made.write_files(path, content)
    for name in empty:
        (path / name).mkdir(parents=True)
    return path


def opened(path: Path, labels: str = "auto") -> Listed:
    return open_source(guess_kind(path), [path], labels)


@pytest.mark.parametrize("zipped", [False, True], ids=["folder", "zip"])
@pytest.mark.parametrize("files", [
    {"train/*.jpg": 3, "test/*.jpg": 2}, {"train/*.jpg": 3, "valid/*.jpg": 2, "test/*.jpg": 2},
    {"train/cat/*.jpg": 3, "train/dog/*.jpg": 3, "val/cat/*.jpg": 2}, {"Training/*.jpg": 3, "Validation/*.jpg": 2},
    {"all/train/*.jpg": 3, "all/test/*.jpg": 3, "all/extra/*.jpg": 3}, {"train2017/*.jpg": 3, "val2017/*.jpg": 3},
    {"train_images/*.jpg": 3, "test_images/*.jpg": 3},
], ids=["train and test", "three of them", "classes inside", "capitals", "another beside them", "COCO's names",
        "suffixes"])
def test_splits_are_not_classes(files: dict[str, int], zipped: bool, tmp_path: Path) -> None:
    path = layout(tmp_path / "photos", files, zipped)
    with pytest.raises(UserError, match=r"sub-folders that are splits .*, not classes: .*; .*use one of them"):
        opened(path)
    assert opened(path, "none").labels.kind == "none" and len(opened(path, "none")) == sum(files.values())
    with pytest.raises(UserError, match="splits"):      # a run's
        FolderReader(path, 16)
    images = open_images(str(path))                     # most metrics need no classes
    assert (len(images), images.labels) == (sum(files.values()), None) and "splits" in images.unlabelled


@pytest.mark.parametrize(("names", "splits"), [
    (["train", "test"], True), (["val", "test"], True), (["train", "bus", "car"], False), (["cat", "dog"], False),
    (["train-1", "train-2"], True), (["tests", "trains"], False), (["train", "dev", "unlabeled"], True),
    (["test"], False),
], ids=str)
def test_which_names_are_splits(names: list[str], splits: bool) -> None:
    assert are_splits(names) is splits


def test_splits_that_are_asked_for_as_classes_are_classes(tmp_path: Path) -> None:
    flat = layout(tmp_path / "flat", {"train/*.jpg": 2, "test/*.jpg": 1})
    assert opened(flat, "class").labels.names == ("test", "train")
    nested = layout(tmp_path / "nested", {"train/cat/*.jpg": 2, "test/cat/*.jpg": 1})
    with pytest.raises(UserError, match="splits"):
        opened(nested, "class")
    assert opened(layout(tmp_path / "one", {"train/cat/*.jpg": 2, "train/dog/*.jpg": 1})).labels.names == ("cat", "dog")


@pytest.mark.parametrize("zipped", [False, True], ids=["folder", "zip"])
@pytest.mark.parametrize(("files", "remarks"), [
    ({"*.jpg": 5, "*.heic": 2, "*.txt": 1}, ("passed over 3 files (2 .heic, 1 .txt)",)),
    ({"*.jpg": 5, "LICENSE": 1}, ("passed over 1 file (1 without suffix)",)),
    ({"cat/*.jpg": 2, "dog/*.JPG": 2, "bird/": 0}, ("no images in bird",)),
    ({"cat/*.jpg": 2, "dog/*.jpg": 2, "bird/*.avif": 2, "bird/old/*.avif": 1},
     ("passed over 3 files (3 .avif)", "no images in bird")),
    ({"all/cat/*.jpg": 2, "all/dog/": 0}, ("no images in all/dog",)),
    ({"*.jpg": 3, ".DS_Store": 1, "Thumbs.db": 1, "__MACOSX/*.jpg": 9, ".git/*.x": 9}, ()),
    ({"*.jpg": 3, "*.txt": 3, "*.json": 3}, ("passed over 6 files (3 .json, 3 .txt)",)),
], ids=["other suffixes", "no suffix", "an empty class", "a class in another format", "one class is left",
        "what systems leave", "notes beside every image"])
def test_what_is_left_out_is_said(files: dict[str, int], remarks: tuple[str, ...], zipped: bool,
                                  tmp_path: Path) -> None:
    path = layout(tmp_path / "photos", files, zipped)
    assert opened(path).remarks == FolderReader(path, 16).remarks == open_images(str(path)).remarks == remarks


@pytest.mark.parametrize("files", [
    {"*.jpg": 30, "b*.heic": 40, "c*.avif": 20}, {"*.jpg": 30, "*.heic": 31}, {"*.jpg": 3, "*.txt": 6},
    {"cat/*.jpg": 3, "dog/*.psd": 4},
], ids=["60 of 90", "just above half", "notes of which half belong to no image", "a class in another format"])
def test_most_files_passed_over_is_a_stop(files: dict[str, int], tmp_path: Path) -> None:
    path = layout(tmp_path / "photos", files)
    for read in (opened, lambda path: FolderReader(path, 16), lambda path: open_images(str(path))):
        words = r"most of its files would be left out: passed over \d+ files \(.*convert"
        with pytest.raises(UserError, match=words) as found:
            read(path)
        assert "\n" not in str(found.value)


@pytest.mark.parametrize("names", [("config.yaml", ".lock"), ("manifest.json", "index.safetensors")])
def test_a_run_or_a_set_among_the_photos_is_none_of_them(names: tuple[str, str], tmp_path: Path) -> None:
    """Its samples are not data, and no class; by itself it is a folder as any other."""
    path = layout(tmp_path / "photos", {"cat/*.jpg": 3, "dog/*.jpg": 2, "runs/one/samples/*.jpg": 4})
    before = len(opened(path))
    for name in names:
        (path / "runs" / "one" / name).touch()
    assert [len(opened(path)), FolderReader(path, 16).manifest.records, len(open_images(str(path)))] == [5, 5, 5]
    assert before == 9 and opened(path).labels.names == ("cat", "dog")
    assert len(opened(path / "runs" / "one")) == 4


def test_no_image_at_all_names_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no images .*; passed over 3 files \(3 \.heic\)"):
        opened(layout(tmp_path / "photos", {"*.heic": 3}))


def test_the_opening_line_and_the_report_say_it_all(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = layout(tmp_path / "pets", {"cat/*.jpg": 40, "dog/*.jpg": 1, "bird/": 0, "*.heic": 2})
    assert main([str(path), str(tmp_path / "set"), "--resolution", "100", "--validation", "0.2", "--workers", "1"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert "folder: pets: 41 images, 2 classes; passed over 2 files (2 .heic); no images in bird" in said
    assert "no model family but mlp has 100 px; the nearest that some have are 64 and 128" in said
    halves = [line for line in said if line.startswith(f"{tmp_path / 'set'}/")]
    assert sum("no images of dog" in line for line in halves) == 1      # one image cannot be in both
    main([str(path), str(tmp_path / "other"), "--resolution", "64", "--dry-run"])
    assert "no model family" not in capsys.readouterr().out


def test_class_numbers_without_images_are_said(tmp_path: Path) -> None:
    files = {f"{i}.png": JPEG for i in range(3)}
    labels = json.dumps({"labels": [["0.png", 0], ["1.png", 3], ["2.png", 3]]}).encode()
    path = made.write_zip(tmp_path / "set.zip", {**files, "dataset.json": labels})
    assert opened(path).remarks == ("no images of class 1, 2",)
    made.write_lmdb(tmp_path / "tower_lmdb", {})
    made.write_lmdb(tmp_path / "bridge_lmdb", made.lsun_records(2))
    lsun = open_source("lsun", [tmp_path / "bridge_lmdb", tmp_path / "tower_lmdb"])
    assert lsun.remarks == ("no images in tower",)


@pytest.mark.parametrize("kind", ["zip", "celeba", "cifar10"])
def test_a_folder_around_all_changes_nothing(kind: str, tmp_path: Path) -> None:
    files = {
        "zip": lambda: {**{f"00000/{i}.png": JPEG for i in range(3)},
                        "dataset.json": json.dumps({"labels": [[f"00000/{i}.png", i] for i in range(3)]}).encode()},
        "celeba": lambda: made.celeba_files(3),
        "cifar10": lambda: made.cifar_files(3)[0],
    }[kind]()
    plain, wrapped = made.write_files(tmp_path / "plain", files), tmp_path / "outer"
    made.write_files(wrapped / "inner", files)
    one, other = opened(plain), opened(wrapped)
    assert guess_kind(wrapped) == kind and one.labels == other.labels
    assert np.array_equal(one.table, other.table) and len(one) == len(other)
