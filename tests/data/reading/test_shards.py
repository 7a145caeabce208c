"""Shard sets: tars that any reader can open, and damage that is named."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import webdataset
from harness import SHARD_SIZES, make_set

from scalegan.data.codec import encode, pixels_of
from scalegan.data.manifest import ImageFormat, Index, LabelSchema, Manifest
from scalegan.data.preparing.shards import Record, finish, write_shard
from scalegan.data.reading.order import Order
from scalegan.data.reading.record_reader import OrderedReader
from scalegan.data.reading.webdataset import WebDatasetReader
from scalegan.errors import UserError


def open_set(folder: Path) -> OrderedReader:
    reader = WebDatasetReader(folder)
    return OrderedReader(reader, Order(reader.sizes, 16, 2, 0, 8, 2))


def read_all(chunks: OrderedReader) -> None:
    """Every record of an epoch."""
    for position in range(0, chunks.order.batches_per_epoch * 16, 16):
        for lane in range(2):
            chunks.chunk(position, lane)


@pytest.fixture
def own_set(tiny_set: Path, tmp_path: Path) -> Path:
    """A copy that may be damaged."""
    return Path(shutil.copytree(tiny_set, tmp_path / "set"))


def test_webdataset_reads_the_tars(tiny_set: Path) -> None:
    manifest, index = Manifest.load(tiny_set), Index.load(tiny_set / "index.safetensors")
    urls = [str(tiny_set / shard.name) for shard in manifest.shards]
    samples = list(webdataset.WebDataset(urls, shardshuffle=False))
    assert len(samples) == manifest.records == sum(SHARD_SIZES)
    assert [s["__key__"] for s in samples] == [f"{i:09d}" for i in range(len(samples))]
    assert [int(s["cls"]) for s in samples] == index.labels.tolist() == [i % 4 for i in range(len(samples))]
    number = 0
    for shard in manifest.shards:
        content = (tiny_set / shard.name).read_bytes()
        for _ in range(shard.records):
            at, size = int(index.offsets[number]), int(index.sizes[number])
            assert content[at : at + size] == samples[number]["jpg"]
            number += 1


def test_manifest_records_how_the_set_was_made(tiny_set: Path) -> None:
    tree = json.loads((tiny_set / "manifest.json").read_text())
    assert [s["records"] for s in tree["shards"]] == list(SHARD_SIZES)
    assert tree["image"] == {"size": 16, "channels": 3, "encoding": "jpeg", "quality": 90, "crop": "center",
                             "filter": "lanczos"}
    assert tree["labels"] == {"kind": "class", "names": ["a", "b", "c", "d"]}
    assert len(tree["content"]) == 64


def test_same_records_give_the_same_bytes(tiny_set: Path, tmp_path: Path) -> None:
    again = make_set(tmp_path / "again")
    names = sorted(path.name for path in tiny_set.iterdir())
    assert sorted(path.name for path in again.iterdir()) == names
    for name in names:
        assert (again / name).read_bytes() == (tiny_set / name).read_bytes()


def test_content_hash_is_that_of_the_records(tiny_set: Path, tmp_path: Path) -> None:
    """Not of the shards that hold them."""
    content = Manifest.load(tiny_set).content
    assert Manifest.load(make_set(tmp_path / "resharded", (200, 104))).content == content
    assert Manifest.load(make_set(tmp_path / "fewer", (200, 103))).content != content
    assert Manifest.load(make_set(tmp_path / "other encoding", SHARD_SIZES, "png")).content != content


def test_chunks_are_the_records_that_the_order_names(own_set: Path) -> None:
    chunks = open_set(own_set)
    pixels, labels = chunks.chunk(32, 1)
    records = chunks.order.chunk(32, 1)
    assert labels.tolist() == (records % 4).tolist()
    assert pixels.shape == (8, 3, 16, 16)
    index, image = chunks.reader.index, chunks.reader.manifest.image
    content = {shard: (own_set / f"{shard:06d}.tar").read_bytes() for shard in range(5)}
    for row, record in enumerate(records.tolist()):
        at = int(index.offsets[record])
        expected = pixels_of(content[record // 64][at : at + int(index.sizes[record])], image)
        assert pixels[row].permute(1, 2, 0).numpy().tolist() == expected.tolist()


@pytest.mark.parametrize("encoding, channels", [("raw", 3), ("png", 3), ("png", 1), ("raw", 1), ("jpeg", 1),
                                                ("jpeg", 3), ("webp", 3)])
def test_encodings_round_trip(encoding: str, channels: int) -> None:
    ramp = np.linspace(0, 255, 16 * 16).reshape(16, 16, 1).astype(np.uint8)
    pixels = np.concatenate([ramp, ramp.transpose(1, 0, 2), 255 - ramp], axis=2)[..., :channels]
    image = ImageFormat(16, channels, encoding, 95)
    found = pixels_of(encode(pixels, image), image)
    assert found.shape == pixels.shape
    error = np.abs(found.astype(int) - pixels).max()
    assert error == 0 if encoding in ("raw", "png") else error < 32


def test_attributes_are_stored_as_lists(tmp_path: Path) -> None:
    image = ImageFormat(16, 3, "raw")
    vectors = np.eye(3, dtype=np.uint8)
    records = [Record(bytes(768), vector) for vector in vectors]
    shard, index = write_shard(tmp_path / "0.tar", records, 0, "raw")
    finish(tmp_path, [shard], [index], image, LabelSchema("attributes", ("x", "y", "z")), "made up")
    assert Index.load(tmp_path / "index.safetensors").labels.tolist() == vectors.tolist()
    samples = list(webdataset.WebDataset([str(tmp_path / "0.tar")], shardshuffle=False))
    assert [json.loads(s["json"]) for s in samples] == vectors.tolist()


def truncate(folder: Path) -> None:
    os.truncate(folder / "000001.tar", 5000)


def remove(folder: Path) -> None:
    (folder / "000003.tar").unlink()


def remove_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def break_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text('{"version": 1')


def old_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text('{"version": 0}')


def remove_index(folder: Path) -> None:
    (folder / "index.safetensors").unlink()


def break_index(folder: Path) -> None:
    os.truncate(folder / "index.safetensors", 100)


def another_index(folder: Path) -> None:
    index = Index.load(folder / "index.safetensors")
    Index(index.offsets[:-1], index.sizes[:-1], index.digests[:-1], index.labels[:-1]).save(
        folder / "index.safetensors")


DAMAGES = [(truncate, "000001.tar has 5000 bytes"), (remove, "000003.tar is missing"),
           (remove_manifest, "no manifest.json.*scalegan prepare"), (break_manifest, "manifest.json"),
           (old_manifest, "version 0"), (remove_index, "index.safetensors"), (break_index, "index.safetensors"),
           (another_index, "index.safetensors has 303 records")]


@pytest.mark.parametrize("damage, says", DAMAGES, ids=[damage.__name__ for damage, _ in DAMAGES])
def test_damage_is_reported_at_the_start(damage: object, says: str, own_set: Path) -> None:
    damage(own_set)
    with pytest.raises(UserError, match=says) as caught:
        open_set(own_set)
    assert "\n" not in str(caught.value)
    assert str(own_set) in str(caught.value)


def test_flipped_byte_is_reported_when_it_is_read(own_set: Path) -> None:
    index, path = Index.load(own_set / "index.safetensors"), own_set / "000002.tar"
    content = bytearray(path.read_bytes())
    content[int(index.offsets[130]) + int(index.sizes[130]) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"record 130 in .*000002\.tar is damaged"):
        read_all(open_set(own_set))


def test_shard_that_disappears_while_it_is_needed(own_set: Path) -> None:
    chunks = open_set(own_set)
    for path in own_set.glob("*.tar"):
        path.unlink()
    with pytest.raises(UserError, match=r"cannot open .*\.tar: No such file"):
        chunks.chunk(0, 0)


@pytest.mark.parametrize(("place", "says"), [
    ("photos.zip", "photos.zip is a file: make a set of it with `scalegan prepare"),
    ("photos", "create it with `scalegan prepare SOURCE")])
def test_what_is_no_set_is_answered_with_how_to_make_one(place: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "photos.zip").write_bytes(b"PK")
    with pytest.raises(UserError, match=f"has no manifest.json; .*{says}"):
        Manifest.load(tmp_path / place)
