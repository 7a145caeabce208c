"""The folder backend: the same records in the same order as the prepared set, without preparing it."""

from pathlib import Path

import numpy as np
import pytest
import sources_made as made
import torch

from scalegan.commands.prepare import main
from scalegan.config import loading
from scalegan.data.opening import open_sources
from scalegan.data.reading.folder import FolderReader
from scalegan.data.reading.order import Order
from scalegan.data.reading.record_reader import OrderedReader, RecordReader
from scalegan.data.reading.stream import Stream
from scalegan.data.reading.webdataset import WebDatasetReader
from scalegan.data.spec import Spec
from scalegan.errors import RecipeError, UserError


def ordered(reader: RecordReader) -> OrderedReader:
    return OrderedReader(reader, Order(reader.sizes, 16, 4, seed=7, window_blocks=2))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return made.write_folder(tmp_path / "photos", {"cat": 90, "dog": 60})


@pytest.mark.parametrize("kind", ["folder", "zip", "celeba", "grey"])
def test_gives_the_samples_of_the_prepared_set(tmp_path: Path, photos: Path, kind: str) -> None:
    source = {
        "folder": lambda: photos,
        "zip": lambda: made.write_zip(tmp_path / "a.zip", {f"x/{p.name}": p.read_bytes()
                                                           for p in sorted(photos.rglob("*.jpg"))[:99]}),
        "celeba": lambda: made.write_files(tmp_path / "celeba", made.celeba_files(100)),
        "grey": lambda: made.write_files(tmp_path / "grey", {
            f"{i}.png": made.encoded(made.pixels(i)[..., 0], "PNG") for i in range(100)}),
    }[kind]()
    main([str(source), str(tmp_path / "set"), "--resolution", "16", "--encoding", "raw"])
    ours, prepared = FolderReader(source, 16), WebDatasetReader(tmp_path / "set")
    assert len(prepared.manifest.shards) > 1 and ours.manifest.labels == prepared.manifest.labels
    for position in range(0, 16 * 20, 16):
        for lane in range(4):
            mine, my_labels = ordered(ours).chunk(position, lane)
            theirs, their_labels = ordered(prepared).chunk(position, lane)
            assert torch.equal(mine, theirs), (position, lane)
            assert (my_labels is None and their_labels is None) or torch.equal(my_labels, their_labels)


def test_workers_change_no_sample(photos: Path) -> None:
    chunks = FolderReader(photos, 16)
    batches = []
    for workers in (0, 2):
        stream = Stream(ordered(chunks), range(4), 32, workers)
        batches.append([stream.take() for _ in range(4)])
    for one, other in zip(*batches):
        assert one.position == other.position
        assert torch.equal(one.samples, other.samples) and torch.equal(one.labels, other.labels)


def test_content_is_that_of_the_files(photos: Path, tmp_path: Path) -> None:
    content = FolderReader(photos, 16).manifest.content
    assert FolderReader(photos.rename(tmp_path / "moved"), 16).manifest.content == content
    moved = tmp_path / "moved"
    assert FolderReader(moved, 32).manifest.content != content
    (moved / "cat" / "1.jpg").write_bytes((moved / "cat" / "2.jpg").read_bytes())
    assert FolderReader(moved, 16).manifest.content != content


def test_broken_and_changed_files_are_named(photos: Path) -> None:
    (photos / "cat" / "3.jpg").write_bytes(b"broken")
    chunks = FolderReader(photos, 16)
    with pytest.raises(UserError, match=r"cat/3\.jpg cannot be used.*scalegan prepare"):
        chunks.pixels(2)
    (photos / "cat" / "4.jpg").write_bytes(made.encoded(made.pixels(999)))
    with pytest.raises(UserError, match=r"cat/4\.jpg.*changed since"):
        chunks.pixels(3)


def test_colour_among_grey_pictures_is_refused_as_in_a_prepared_set(tmp_path: Path) -> None:
    files = {f"{i}.png": made.encoded(made.pixels(i)[..., 0], "PNG") for i in range(200)}
    files["1.png"] = made.encoded(made.pixels(1), "PNG")
    reader = FolderReader(made.write_files(tmp_path / "grey", files), 16)
    assert reader.manifest.image.channels == 1 and reader.pixels(0).shape == (16, 16, 1)
    with pytest.raises(UserError, match=r"1\.png cannot be used \(it is in colour among grey"):
        reader.pixels(1)


def test_what_it_cannot_read_is_refused(tmp_path: Path, tiny_set: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        FolderReader(tmp_path / "nothing", 16)
    with pytest.raises(UserError, match="holds shards"):
        FolderReader(tiny_set, 16)
    lmdb = made.write_lmdb(tmp_path / "bedroom_lmdb", made.lsun_records(3))
    with pytest.raises(UserError, match=r"scalegan prepare .*--kind lsun"):
        FolderReader(lmdb, 16)


def _recipe(path: object, **data: object) -> object:
    tree = {"run_dir": "x", "total_images": 64, "batch_size": 16, "lanes": 4,
            "data": {"path": str(path), "backend": "folder", "resolution": 16, **data}}
    return loading.parse(tree, "test")


def test_recipes_open_the_backend(photos: Path) -> None:
    source = open_sources(_recipe(photos, labels="class"))["real"]
    assert source.spec == Spec("image", (3, 16, 16), classes=2)
    assert source.content == source.records.reader.manifest.content
    assert np.bincount(source.conditions.numpy()).tolist() == [90, 60]
    with pytest.raises(RecipeError, match=r"data\.labels=attributes"):
        open_sources(_recipe(photos, labels="attributes"))
    with pytest.raises(RecipeError, match="local files"):
        open_sources(_recipe("memory://x"))
