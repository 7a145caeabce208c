"""Slightly odd sources, as found in practice, and failing records and disks: a one-line error, or it carries on."""

import io
import json
import struct
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import sources_made as made
from harness import cli
from PIL import Image

from scalegan.commands.prepare import main
from scalegan.data import picture
from scalegan.data.manifest import Index, Manifest
from scalegan.data.picture import read_picture
from scalegan.data.preparing.plan import cut
from scalegan.data.preparing.sources import guess_kind, open_source
from scalegan.errors import UserError

JPEG = made.encoded(made.pixels(0))


def prepare(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def labelled(kind: str, path: Path, labels: str = "auto") -> dict[str, object]:
    source = open_source(kind, [path], labels)
    return {e.key: e.label if e.label is None else source.labels.names[e.label] for e in source.entries()}


# Wrapping folders, links, names


@pytest.mark.parametrize("separator", ["/", "\\"])
def test_a_folder_that_wraps_everything_is_not_a_class(separator: str, tmp_path: Path) -> None:
    names = [f"photos{separator}cat{separator}1.jpg", f"photos{separator}dog{separator}1.jpg"]
    path = made.write_zip(tmp_path / "photos.zip", dict.fromkeys(names, JPEG))
    assert labelled("folder", path) == {"photos/cat/1.jpg": "cat", "photos/dog/1.jpg": "dog"}
    flat = made.write_zip(tmp_path / "flat.zip", {"photos/1.jpg": JPEG, "photos/2.jpg": JPEG})
    assert labelled("folder", flat) == {"photos/1.jpg": None, "photos/2.jpg": None}
    assert labelled("folder", flat, "class") == {"photos/1.jpg": "photos", "photos/2.jpg": "photos"}


def test_cifar10_folders_in_another(tmp_path: Path) -> None:
    classes = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    files = {f"cifar10/{part}/{name}/1.png": JPEG for part in ("train", "test") for name in classes}
    path = made.write_zip(tmp_path / "cifar.zip", files)
    assert guess_kind(path) == "cifar10"
    assert labelled("cifar10", path) == {f"cifar10/train/{name}/1.png": name for name in classes}


def test_cyclic_links_are_not_followed(tmp_path: Path) -> None:
    made.write_folder(tmp_path / "pets", {"cat": 2, "dog": 2})
    (tmp_path / "pets" / "cat" / "up").symlink_to("..")
    (tmp_path / "pets" / "dog" / "friend").symlink_to("../cat")
    (tmp_path / "pets" / "cat" / "friend").symlink_to("../dog")
    (tmp_path / "pets" / "more").symlink_to(made.write_folder(tmp_path / "elsewhere", {"": 3}))
    files = labelled("folder", tmp_path / "pets")
    assert sorted(name for name in files if name.startswith("more")) == ["more/1.jpg", "more/2.jpg", "more/3.jpg"]
    assert all(name.count("friend") + name.count("up") <= 2 for name in files) and len(files) < 20


@pytest.mark.slow
def test_any_file_name_is_taken(tmp_path: Path) -> None:
    """Latin-1 bytes, non-decimal digits, an output name that the terminal's encoding lacks."""
    for name in ("caf\udce9", "\u00b2", "\u0663"):
        made.write_folder(tmp_path / "pets" / name, {"": 1})
    found = cli("prepare", tmp_path / "pets", tmp_path / "\u00fcn\u00ef", "--resolution", 8, PYTHONIOENCODING="ascii")
    assert found.returncode == 0, found.stderr
    assert Manifest.load(tmp_path / "\u00fcn\u00ef").records == 3


# Archives and annotations


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: data[:300] + data[400:]])
def test_a_damaged_tar_is_one_line(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    made.write_files(tmp_path / "cifar", made.cifar_files()[0])
    path = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        tar.add(tmp_path / "cifar" / "cifar-10-batches-py", "cifar-10-batches-py")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match="not a complete tar"):
        open_source("cifar10", [path])


def test_a_tar_of_images_is_refused(tmp_path: Path) -> None:
    made.write_folder(tmp_path / "pets", {"cat": 2})
    with tarfile.open(tmp_path / "pets.tar", "w") as tar:
        tar.add(tmp_path / "pets", "pets")
    with pytest.raises(UserError, match="unpack it"):
        open_source("folder", [tmp_path / "pets.tar"])


def test_celeba_in_both_formats_is_taken_once(tmp_path: Path) -> None:
    files = made.celeba_files(4)
    made.write_files(tmp_path / "Img", {n: c for n, c in files.items() if n.endswith(".jpg")})
    png = made.encoded(made.pixels(0, 178, 218), "PNG")
    made.write_files(tmp_path / "Img", {f"img_align_celeba_png/{i + 1:06d}.png": png for i in range(4)})
    assert list(labelled("celeba", tmp_path, "none")) == [f"Img/img_align_celeba/{i + 1:06d}.jpg" for i in range(4)]


def test_celeba_from_kaggle(tmp_path: Path) -> None:
    files = made.celeba_files(6)
    for name in [name for name in files if name.endswith(".txt")]:
        lines = files.pop(name).decode().splitlines()
        rows = lines[2:] if "attr" in name else lines
        names = lines[1].split() if "attr" in name else ["number"]
        table = [",".join(["image_id", *names]), *(",".join(row.split()) for row in rows)]
        files[name.replace(".txt", ".csv")] = "\n".join(table).encode()
    path = made.write_files(tmp_path / "celeba", {f"img_align_celeba/{n}" if n.endswith("jpg") else n: c
                                                  for n, c in files.items()})
    source = open_source("celeba", [path])
    assert source.labels.names == made.ATTRIBUTE_NAMES
    assert [e.label.tolist() for e in source.entries()] == [[i & 1, i >> 1 & 1, i >> 2 & 1] for i in range(6)]
    assert len(open_source("celeba", [path], split="train")) == 2


def test_celeba_finds_its_annotations_from_within(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = made.celeba_files(4)
    made.write_files(tmp_path / "Img", {n: c for n, c in files.items() if n.endswith(".jpg")})
    made.write_files(tmp_path / "Anno", {n: b"\xef\xbb\xbf" + c for n, c in files.items() if "attr" in n})
    for inside in (tmp_path / "Img", tmp_path / "Img" / "img_align_celeba"):
        monkeypatch.chdir(inside)
        assert open_source("celeba", [Path(".")]).labels.kind == "attributes"
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no list_attr_celeba\.txt in or next to .*empty"):
        open_source("celeba", [tmp_path / "Img"], annotations=tmp_path / "empty")
    (tmp_path / "Anno" / "list_attr_celeba.txt").write_bytes(files["list_attr_celeba.txt"].decode().encode("utf-16"))
    with pytest.raises(UserError, match=r"list_attr_celeba\.txt cannot be read as text"):
        open_source("celeba", [tmp_path / "Img"])


@pytest.mark.parametrize("labels", [[["0.png", 3_000_000_000]], [[[1, 2], 0]]])
def test_strange_classes_of_dataset_json(labels: list, tmp_path: Path) -> None:
    files = {"0.png": JPEG, "dataset.json": json.dumps({"labels": labels}).encode()}
    with pytest.raises(UserError, match=r"number the classes 0, 1, 2|not of the form"):
        open_source("zip", [made.write_zip(tmp_path / "set.zip", files)])


def test_the_topmost_dataset_json_counts(tmp_path: Path) -> None:
    files = {"a/dataset.json": b'{"labels": null}', "a/0.png": JPEG, "dataset.json": b'{"labels": [["a/0.png", 1]]}'}
    assert labelled("zip", made.write_zip(tmp_path / "set.zip", files)) == {"a/0.png": "1"}


def test_a_source_that_ends_early_is_damaged(tmp_path: Path) -> None:
    source = open_source("folder", [made.write_folder(tmp_path / "pets", {"": 5})])
    object.__setattr__(source, "entries", lambda begin=None: iter([source.entry(0)]))
    with pytest.raises(UserError, match="reports 5 records, but 1 were read"):
        cut(source, 32, 0.0)


# Pictures


@pytest.mark.parametrize("error", [struct.error, TypeError, RuntimeError, NotImplementedError, IndexError, OSError])
def test_a_damaged_picture_is_rejected_whatever_it_raises(error: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow's readers raise all of these on damaged EXIF, TIFF, AVIF, DDS, GIF."""
    def fail(data: bytes) -> np.ndarray:
        raise error("in the middle")
    monkeypatch.setattr(picture, "_with_pillow", fail)
    with pytest.raises(ValueError, match="in the middle"):
        read_picture(b"BM of some kind")


def test_formats_that_run_other_programs_are_not_opened() -> None:
    with pytest.raises(ValueError, match="not one of JPEG"):
        read_picture(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n")


def test_orientation_is_found_however_late_it_comes() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.fromarray(made.pixels(1)).save(buffer, "JPEG", exif=exif)
    data = buffer.getvalue()
    padding = bytes(6000)
    late = data[:2] + b"\xff\xed" + struct.pack(">H", len(padding) + 2) + padding + data[2:]
    assert (read_picture(late) == read_picture(data)).all() and read_picture(data).shape != made.pixels(1).shape


# Sets begun or finished, full disks


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return made.write_folder(tmp_path / "photos", {"cat": 50, "dog": 60})


@pytest.mark.slow
def test_a_damaged_prepare_json_is_named(photos: Path, tmp_path: Path) -> None:
    prepare(photos, tmp_path / "set", "--resolution", 16)
    (tmp_path / "set" / "prepare.json").write_text("")
    with pytest.raises(UserError, match=r"prepare\.json is damaged, or not written by"):
        prepare(photos, tmp_path / "set", "--resolution", 16)


@pytest.mark.slow
def test_a_finished_set_is_not_taken_for_that_of_a_changed_source(
        photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    prepare(photos, tmp_path / "set", "--resolution", 16)
    (tmp_path / "set" / ".prepare").mkdir()                     # as left by a call that is killed at its very end
    assert prepare(photos, tmp_path / "set", "--resolution", 16) == 0
    assert not (tmp_path / "set" / ".prepare").exists()
    (photos / "cat" / "1.jpg").rename(photos / "cat" / "new.jpg")
    assert prepare(photos, tmp_path / "set", "--resolution", 16) == 0
    assert "keys or labels of folder: photos have changed since" in capsys.readouterr().out


@pytest.mark.slow
def test_verify_checks_checksums_and_both_sets(photos: Path, tmp_path: Path) -> None:
    prepare(photos, tmp_path / "set", "--resolution", 16, "--validation", 0.2)
    assert prepare(tmp_path / "set", "--verify") == 0
    index = Index.load(tmp_path / "set" / "val" / "index.safetensors")
    index.checks[3] ^= 1
    index.save(tmp_path / "set" / "val" / "index.safetensors")
    with pytest.raises(UserError, match=r"has 1 damaged record\(s\): 3"):
        prepare(tmp_path / "set", "--verify")
    (tmp_path / "set" / "val" / "manifest.json").unlink()
    with pytest.raises(UserError, match=r"val has no manifest\.json"):
        prepare(tmp_path / "set", "--verify")


@pytest.mark.slow
def test_an_empty_validation_set_is_refused_before_the_work(tmp_path: Path) -> None:
    photos = made.write_folder(tmp_path / "photos", {"": 12})
    with pytest.raises(UserError, match=r"--validation 0\.001 of 12 records leaves none for val; use another fraction"):
        prepare(photos, tmp_path / "set", "--resolution", 16, "--validation", 0.001)
    assert not list((tmp_path / "set").rglob("*.tar"))
    assert prepare(photos, tmp_path / "set", "--resolution", 16) == 0


@pytest.mark.slow
def test_a_full_disk_anywhere_is_one_line_and_more_space_resumes(photos: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("needs the right to mount a small disk: root")
    try:
        arguments = "prepare", photos, disk / "set", "--resolution", 16, "--shard-records", 32, "--workers", 1
        for size in range(64, 1024, 20):
            subprocess.run(["mount", "-o", f"remount,size={size}k", str(disk)], check=True)
            found = cli(*arguments)
            if found.returncode == 0:
                break
            assert found.returncode == 1 and "free some space, and run the same command to resume" in found.stderr
            assert "Traceback" not in found.stderr
        assert found.returncode == 0 and size > 64
        prepare(photos, tmp_path / "straight", "--resolution", 16, "--shard-records", 32)
        for path in (tmp_path / "straight").iterdir():
            assert path.name == "prepare.json" or path.read_bytes() == (disk / "set" / path.name).read_bytes()
    finally:
        subprocess.run(["umount", str(disk)], check=False)
