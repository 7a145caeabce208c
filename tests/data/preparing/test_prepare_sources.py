"""What each source yields: keys, labels and bytes, in a fixed order, from any place on."""

import io
import json
import pickle
import re
import resource
import tarfile
import zipfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import sources_made as made

from scalegan.data.preparing.sources import guess_kind, lsun, open_source
from scalegan.data.preparing.sources.base import Source
from scalegan.data.preparing.sources.celeba import parse_attributes, parse_numbers
from scalegan.data.preparing.sources.safe_pickle import read_arrays
from scalegan.errors import UserError


def listing(source: Source, begin: object = None) -> list[tuple[str, object, bytes]]:
    """Everything that the source yields, each picture read before the next entry."""
    return [(e.key, e.label if np.ndim(e.label) == 0 else e.label.tolist(), _as_bytes(e.read()))
            for e in source.entries(begin)]


def _as_bytes(picture: object) -> bytes:
    return picture if isinstance(picture, bytes) else picture.tobytes()


# LSUN


@pytest.fixture
def bedrooms(tmp_path: Path) -> Path:
    return made.write_lmdb(tmp_path / "bedroom_train_lmdb", made.lsun_records(40))


def test_lsun_yields_its_records_in_key_order(bedrooms: Path) -> None:
    records = made.lsun_records(40)
    found = listing(open_source("lsun", [bedrooms]))
    assert [(key.encode(), data) for key, _, data in found] == sorted(records.items())
    assert {label for _, label, _ in found} == {None}


@pytest.mark.parametrize("records", [1, 7, 39, 40])
def test_lsun_reopens_its_map_without_losing_a_record(
        bedrooms: Path, monkeypatch: pytest.MonkeyPatch, records: int) -> None:
    whole = listing(open_source("lsun", [bedrooms]))
    monkeypatch.setattr(lsun, "_SLICE", records)
    assert listing(open_source("lsun", [bedrooms])) == whole


def test_lsun_takes_little_memory_in_any_order(tmp_path: Path) -> None:
    """Values lie in another order than keys, and for each page read the system maps its neighbours."""
    values = {f"{i * 7919 % 65521:08x}".encode(): bytes(9000) for i in range(12_000)}
    source = open_source("lsun", [made.write_lmdb(tmp_path / "bedroom_lmdb", values)])
    before = mapped_bytes()
    assert max(mapped_bytes() for _ in islice(source.entries(), 0, None, 20)) - before < 32 << 20
    assert max(mapped_bytes() for entry in source.entries() if len(entry.read())) - before < 32 << 20


def mapped_bytes() -> int:
    """Bytes of mapped files in this process's memory (Linux)."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"RssFile:\s+(\d+)", status)[1]) << 10


def test_lsun_categories_are_the_labels(bedrooms: Path, tmp_path: Path) -> None:
    bridges = made.write_lmdb(tmp_path / "bridge_val_lmdb", made.lsun_records(10, first=500, format="WEBP"))
    source = open_source("lsun", [bridges, bedrooms])
    assert source.labels.names == ("bridge", "bedroom") and len(source) == 50
    assert [label for _, label, _ in listing(source)] == [0] * 10 + [1] * 40
    assert open_source("lsun", [bridges, bedrooms], "none").labels.kind == "none"
    assert open_source("lsun", [bridges], "class").labels.names == ("bridge",)


@pytest.mark.parametrize("skipped", [0, 3, 11, 49])
def test_lsun_resumes_from_any_place(bedrooms: Path, tmp_path: Path, skipped: int) -> None:
    bridges = made.write_lmdb(tmp_path / "bridge_lmdb", made.lsun_records(10, first=500))
    source = open_source("lsun", [bridges, bedrooms])
    place = [entry.place for entry in source.entries()][skipped]
    assert listing(source, place) == listing(source)[skipped:]


def test_lsun_that_is_still_zipped_says_what_to_do(bedrooms: Path, tmp_path: Path) -> None:
    zipped = made.write_zip(tmp_path / "church_train_lmdb.zip",
                            {"church_train_lmdb/data.mdb": (bedrooms / "data.mdb").read_bytes()})
    assert guess_kind(zipped) == "lsun"
    with pytest.raises(UserError, match=r"still zipped.*unzip"):
        open_source("lsun", [zipped])


def test_lsun_that_is_cut_short_is_refused(bedrooms: Path) -> None:
    content = (bedrooms / "data.mdb").read_bytes()
    (bedrooms / "data.mdb").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="cut short"):
        open_source("lsun", [bedrooms])


def test_lsun_that_is_not_an_lmdb_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(UserError, match=r"no data\.mdb"):
        open_source("lsun", [tmp_path / "x"])
    (tmp_path / "x" / "data.mdb").write_bytes(b"nonsense" * 2000)
    with pytest.raises(UserError, match="cannot be opened"):
        open_source("lsun", [tmp_path / "x"])


def test_real_lsun_layout() -> None:
    paths = [made.real_data("bedroom_houses_lmdb"), made.real_data("frontal_houses_lmdb")]
    source = open_source("lsun", paths)
    entries = [(e.key, e.label, e.read()[8:12]) for e in source.entries()]
    assert len(entries) == len(source) and {magic for _, _, magic in entries} == {b"WEBP"}
    assert {len(key) for key, _, _ in entries} == {40}
    assert [label for _, label, _ in entries] == sorted(label for _, label, _ in entries)


# CelebA


@pytest.fixture(params=["folder", "images only", "zip", "packed zip", "zip in a folder", "published folders"])
def celeba(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """CelebA in the layouts found in practice, twelve images."""
    files = made.celeba_files(12)
    images = {name: content for name, content in files.items() if name.endswith(".jpg")}
    texts = {name: content for name, content in files.items() if name.endswith(".txt")}
    root = tmp_path / "celeba"
    if request.param == "folder":
        return made.write_files(root, files)
    if request.param == "images only":
        return made.write_files(root, files) / "img_align_celeba"
    if "zip" in request.param and "in" not in request.param.split():
        method = zipfile.ZIP_DEFLATED if request.param == "packed zip" else zipfile.ZIP_STORED
        return made.write_zip(tmp_path / "celeba.zip", files, method)
    root.mkdir()
    if request.param == "zip in a folder":
        made.write_zip(root / "img_align_celeba.zip", images)
        return made.write_files(root, texts)
    made.write_files(root / "Img", images)
    made.write_files(root / "Anno", {n: c for n, c in texts.items() if "partition" not in n})
    return made.write_files(root / "Eval", {n: c for n, c in texts.items() if "partition" in n}).parent


def test_celeba_is_found_in_every_layout(celeba: Path) -> None:
    assert guess_kind(celeba) == "celeba"
    source = open_source("celeba", [celeba])
    found = listing(source)
    assert source.labels.kind == "attributes" and source.labels.names == made.ATTRIBUTE_NAMES
    assert [label for _, label, _ in found] == [[i & 1, i >> 1 & 1, i >> 2 & 1] for i in range(12)]
    files = made.celeba_files(12)
    assert [data for _, _, data in found] == [files[f"img_align_celeba/{i + 1:06d}.jpg"] for i in range(12)]


def test_celeba_identities_and_splits(tmp_path: Path) -> None:
    path = made.write_files(tmp_path / "celeba", made.celeba_files(12, newline="\r\n"))
    identities = open_source("celeba", [path], "identity")
    assert identities.labels.names == tuple(str(1000 + 7 * i) for i in range(6))
    assert [label for _, label, _ in listing(identities)] == [i // 2 for i in range(12)]
    for number, split in enumerate(("train", "val", "test")):
        keys = [key for key, _, _ in listing(open_source("celeba", [path], "none", split))]
        assert [int(key[-10:-4]) - 1 for key in keys] == list(range(number, 12, 3))
    assert len(open_source("celeba", [path], split="all")) == 12


def test_celeba_takes_its_annotations_from_elsewhere_and_for_png_copies(tmp_path: Path) -> None:
    files = made.celeba_files(3)
    texts = made.write_zip(tmp_path / "notes.zip", {n: c for n, c in files.items() if n.endswith(".txt")})
    images = {f"{i + 1:06d}.png": made.encoded(made.pixels(i, 178, 218), "PNG") for i in range(3)}
    path = made.write_files(tmp_path / "images" / "deep" / "img_align_celeba_png", images)
    source = open_source("celeba", [path], "attributes", annotations=texts)
    assert [label for _, label, _ in listing(source)] == [[0, 0, 0], [1, 0, 0], [0, 1, 0]]
    assert open_source("celeba", [path]).labels.kind == "none"
    with pytest.raises(UserError, match="--annotations"):
        open_source("celeba", [path], "attributes")


@pytest.mark.parametrize(("change", "message"), [
    (lambda text: text.replace(b"000003.jpg", b"999999.jpg"), "no row for 000003"),
    (lambda text: text.replace(b"-1", b"-2"), "values of -1 or 1"),
    (lambda text: text[:-20], "announces|values of"),
    (lambda text: b"hello\n" + text, "begin with a count"),
], ids=["missing row", "strange values", "cut short", "no count"])
def test_celeba_refuses_damaged_annotations(tmp_path: Path, change: Callable[[bytes], bytes], message: str) -> None:
    files = made.celeba_files(6)
    files["list_attr_celeba.txt"] = change(files["list_attr_celeba.txt"])
    with pytest.raises(UserError, match=message):
        open_source("celeba", [made.write_files(tmp_path / "celeba", files)])


def test_celebas_own_202599_rows_parse() -> None:
    with zipfile.ZipFile(made.real_data("celeba_annotations.zip")) as archive:
        texts = {name: archive.read(name).decode() for name in archive.namelist()}
    names, rows = parse_attributes(texts["list_attr_celeba.txt"])
    assert len(names) == 40 and len(rows) == 202_599
    assert names[20] == "Male" and sum(int(row[20]) for row in rows.values()) == 84_434
    identities = parse_numbers(texts["identity_CelebA.txt"], "identity_CelebA.txt")
    assert len(identities) == 202_599 and len(set(identities.values())) == 10_177
    partition = parse_numbers(texts["list_eval_partition.txt"], "list_eval_partition.txt")
    assert np.bincount(list(partition.values())).tolist() == [162_770, 19_867, 19_962]


def test_real_faces_in_celebas_layout_are_read_in_place() -> None:
    path = made.real_data("faces_celeba_layout.zip")
    source = open_source("celeba", [path])
    assert len(source) == 7918 and source.labels.names[0] == "Smiling"
    splits = [len(open_source("celeba", [path], "none", split)) for split in ("train", "val", "test")]
    assert sum(splits) == 7918 and min(splits) > 0
    assert len(open_source("celeba", [path], "identity").labels.names) == 3920
    assert next(iter(source.entries())).label.tolist() == [1, 0, 0, 0, 0, 0]


# CIFAR-10


@pytest.mark.parametrize("layout", ["folder", "the folder above", "zip", "tar.gz"])
def test_cifar10_batches(tmp_path: Path, layout: str) -> None:
    files, pictures = made.cifar_files()
    path = made.write_files(tmp_path / "cifar", files)
    if layout == "folder":
        path = path / "cifar-10-batches-py"
    elif layout == "zip":
        path = made.write_zip(tmp_path / "cifar.zip", files)
    elif layout == "tar.gz":
        path = tmp_path / "cifar-10-python.tar.gz"
        with tarfile.open(path, "w:gz") as tar:
            tar.add(tmp_path / "cifar" / "cifar-10-batches-py", "cifar-10-batches-py")
    assert guess_kind(path) == "cifar10"
    found = listing(open_source("cifar10", [path]))
    assert [data for _, _, data in found] == [picture.tobytes() for picture in pictures]
    assert [label for _, label, _ in found] == [(batch + i) % 10 for batch in range(5) for i in range(4)]
    test = listing(open_source("cifar10", [path], split="test"))
    assert [key for key, _, _ in test] == [f"test_batch/{i:05d}" for i in range(4)]
    assert len(open_source("cifar10", [path], split="all")) == 24


def test_cifar10_folders(tmp_path: Path) -> None:
    path = tmp_path / "cifar"
    for part in ("train", "test"):
        made.write_folder(path / part, {"frog": 2, "airplane": 3}, (32, 32))
    source = open_source("cifar10", [path])
    assert source.labels.names == ("airplane", "frog")
    assert [label for _, label, _ in listing(source)] == [0, 0, 0, 1, 1]
    assert len(open_source("cifar10", [path], split="all")) == 10


class _Trap:
    """Writes a file if loaded with Python's own unpickler."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return (exec, (f"open({str(self.path)!r}, 'w').close()",))


def test_a_malicious_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    trap = tmp_path / "sprung"
    files, _ = made.cifar_files()
    name = "cifar-10-batches-py/data_batch_1"
    files[name] = pickle.dumps({b"data": _Trap(trap), b"labels": [1]}, protocol=2)
    path = made.write_files(tmp_path / "cifar", files)
    with pytest.raises(UserError, match=r"exec, which is not allowed"):
        open_source("cifar10", [path])
    assert not trap.exists()
    pickle.loads(files[name])
    assert trap.exists(), "the trap itself must work, or this test shows nothing"


@pytest.mark.parametrize("name", ["os.system", "builtins.eval", "builtins.getattr", "numpy.load", "_codecs.decode"])
def test_pickles_that_name_anything_else_are_refused(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    with pytest.raises(UserError, match="not a pickle of arrays"):
        read_arrays(f"c{module}\n{attribute}\n.".encode(), "it")


@pytest.mark.parametrize("data", [b"", b"\x80", b"nonsense", b"\x80\x02c"], ids=repr)
def test_damaged_pickles_are_refused(data: bytes) -> None:
    with pytest.raises(UserError, match="not a pickle of arrays"):
        read_arrays(data, "it")


def raw_array(shape: bytes = b"K\x04\x85", type_: bytes = b"U\x02u1", state: bytes = b"", content: bytes = b"C\x04abcd",
              order: bytes = b"U\x01|") -> bytes:
    """A pickle of {b"data": an array}, opcode by opcode."""
    kind = (b"cnumpy\ndtype\n" + type_ + b"K\x00K\x01\x87R" + (state or b"(K\x03" + order + b"NNNJ\xff\xff\xff\xff"
                                                                 b"J\xff\xff\xff\xffK\x00tb"))
    return (b"\x80\x03}U\x04datacnumpy.core.multiarray\n_reconstruct\n"
            b"cnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01" + shape + kind + b"\x89" + content + b"tbs.")


def test_raw_arrays_are_what_they_say() -> None:
    assert read_arrays(raw_array(), "it")[b"data"].tobytes() == b"abcd"
    assert read_arrays(raw_array(b"K\x02\x85", b"U\x02i2", order=b"U\x01>"), "it")[b"data"].tolist() == [0x6162, 0x6364]


@pytest.mark.parametrize("data", [
    raw_array(type_=b"U\x02O8", content=b"](K\x01K\x02K\x03K\x04e"),
    raw_array(type_=b"U\x01O", content=b"C\x20" + b"a" * 32),
    raw_array(type_=b"U\x02V4"), raw_array(type_=b"U\x02S4"), raw_array(type_=b"U\x02M8"), raw_array(type_=b"U\x03f16"),
    raw_array(type_=b"U\x0bu1,(10000,)O"), raw_array(type_=b"]"), raw_array(order=b"U\x01?"),
    raw_array(state=b"K\x01b"),
    raw_array(shape=b"K\x05\x85"), raw_array(shape=b"K\x03\x85"), raw_array(shape=b"J\xff\xff\xff\xff\x85"),
    raw_array(shape=b"K\x02K\xff\x86"), raw_array(shape=b"\x8a\x09" + b"\xff" * 8 + b"\x00\x85"), raw_array(shape=b"]"),
    raw_array(shape=b"G?\xf0\x00\x00\x00\x00\x00\x00\x85"), raw_array(content=b"](K\x01e"), raw_array(content=b"N"),
    b"cnumpy\nndarray\n(J\xff\xff\xff\x7fJ\xff\xff\xff\x7ftR.", b"]r\xff\xff\xff\xff.", b"]p4294967295\n.",
    b"}" + b")" + b"\x85" * 1_000_000 + b"K\x01s.", b"B\xff\xff\xff\x7f.", b"\x8e" + b"\xff" * 7 + b"\x7f.",
    b"K\x01" * 2_000_001 + b".", b"c_codecs\nencode\nU\x01a](" + b"2(" * 3 + b"tR.",
], ids=["objects", "objects as bytes", "void", "text", "dates", "long doubles", "a structure", "no type", "no order",
        "no state", "too few bytes", "too many bytes", "negative", "another shape", "huge", "a list as shape",
        "a fraction as shape", "a list as bytes", "no bytes", "an array of exabytes", "memo 2^32", "memo in text",
        "nested keys", "2 GB announced", "exabytes announced", "millions of steps", "a codec of lists"])
def test_arrays_that_would_crash_or_fill_the_memory_are_refused(data: bytes) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError) as error:
        read_arrays(data, "it")
    assert str(error.value).startswith("it is not a pickle of arrays: ") and "\n" not in str(error.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000


def test_labels_that_share_parts_without_end_are_refused(tmp_path: Path) -> None:
    labels: list = [1]
    for _ in range(60):
        labels = [labels, labels]
    files, _ = made.cifar_files()
    files["cifar-10-batches-py/data_batch_1"] = pickle.dumps(
        {b"data": np.zeros((2, 3072), np.uint8), b"labels": labels}, protocol=2)
    with pytest.raises(UserError, match="does not hold 32 x 32 colour images of ten classes"):
        open_source("cifar10", [made.write_files(tmp_path / "cifar", files)])


@pytest.mark.parametrize("protocol", [0, 2, 3, 4, 5])
def test_pickles_of_arrays_are_read_in_every_protocol(protocol: int) -> None:
    tree = {"data": np.arange(12, dtype=np.uint8).reshape(3, 4), "labels": [1, 2, 3], "label": b"x\xff"}
    if protocol == 5:   # the buffers' own constructor is not among what CIFAR's files need
        with pytest.raises(UserError, match="_frombuffer"):
            read_arrays(pickle.dumps(tree, protocol), "it")
        return
    found = read_arrays(pickle.dumps(tree, protocol), "it")
    names = {str(k if isinstance(k, str) else k.decode()): v for k, v in found.items()}
    assert (names["data"] == tree["data"]).all() and names["labels"] == [1, 2, 3] and names["label"] == b"x\xff"


@pytest.mark.slow
def test_real_cifar10_folders_are_read_in_place() -> None:
    path = made.real_data("cifar10.zip")
    assert guess_kind(path) == "cifar10"
    source = open_source("cifar10", [path])
    assert len(source) == 50_000 and len(source.labels.names) == 10
    assert np.bincount(source.table).tolist() == [5000] * 10
    assert len(open_source("cifar10", [path], split="test")) == 10_000


# Folders and zips


def test_folder_classes_in_natural_order(tmp_path: Path) -> None:
    path = made.write_folder(tmp_path / "pets", {"cat10": 2, "cat9": 11, "cat9/kittens": 1})
    (path / "cat9" / "notes.txt").write_text("not an image")
    (path / "cat9" / ".hidden.jpg").write_text("not an image")
    source = open_source("folder", [path])
    assert source.labels.names == ("cat9", "cat10")
    keys = [key for key, _, _ in listing(source)]
    assert keys == [*(f"cat9/{i}.jpg" for i in range(1, 12)), "cat9/kittens/1.jpg", "cat10/1.jpg", "cat10/2.jpg"]
    assert [label for _, label, _ in listing(source)] == [0] * 12 + [1] * 2


def test_a_flat_folder_has_no_labels(tmp_path: Path) -> None:
    path = made.write_folder(tmp_path, {"": 12})
    source = open_source("folder", [path])
    assert source.labels.kind == "none"
    assert [key for key, _, _ in listing(source)] == [f"{i}.jpg" for i in range(1, 13)]


def test_a_folder_with_images_in_and_outside_classes_needs_labels_none(tmp_path: Path) -> None:
    path = made.write_folder(tmp_path, {"": 2, "a": 2})
    with pytest.raises(UserError, match=r"--labels none"):
        open_source("folder", [path])
    assert len(open_source("folder", [path], "none")) == 4


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_is_read_in_place_and_its_damage_noticed(tmp_path: Path, method: int) -> None:
    files = {f"a/{i}.jpg": made.encoded(made.pixels(i)) for i in range(5)}
    path = made.write_zip(tmp_path / "a.zip", files, method)
    assert {key: data for key, _, data in listing(open_source("folder", [path]))} == files
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        content[archive.getinfo("a/3.jpg").header_offset + 200] ^= 0xFF
    path.write_bytes(content)
    entries = list(open_source("folder", [path]).entries())
    assert entries[2].read() == files["a/2.jpg"]
    with pytest.raises(ValueError, match=r"damaged|CRC-32 does not match"):
        entries[3].read()


def test_a_zip_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    path = made.write_zip(tmp_path / "a.zip", {"a.jpg": made.encoded(made.pixels(1))})
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UserError, match="not a complete zip"):
        open_source("folder", [path])


@pytest.mark.parametrize(("labels", "kind", "names"), [
    ([3, 0, 1], "class", 4), ([[1, 0], [0, 0], [1, 1]], "attributes", 2), (None, "none", 0),
])
def test_stylegans_zip(tmp_path: Path, labels: list | None, kind: str, names: int) -> None:
    images = {f"00000/img{i:08d}.png": made.encoded(made.pixels(i, 32, 32), "PNG") for i in range(3)}
    pairs = None if labels is None else [[name, label] for name, label in zip(images, labels)][::-1]
    path = made.write_zip(tmp_path / "set.zip", {**images, "dataset.json": json.dumps({"labels": pairs}).encode()})
    assert guess_kind(path) == "zip"
    source = open_source("zip", [path])
    assert source.labels.kind == kind and len(source.labels.names) == names
    assert [label for _, label, _ in listing(source)] == (labels or [None] * 3)
    assert [data for _, _, data in listing(source)] == list(images.values())


@pytest.mark.parametrize(("text", "message"), [
    (b"{", "is not of the form"), (b'{"labels": [["a.png", 1]]}', "no label for"),
    (b'{"labels": [["0.png", 0.5], ["1.png", 1]]}', "neither class numbers"),
    (b'{"labels": [["0.png", [1, 0]], ["1.png", [1]]]}', "neither class numbers"),
])
def test_stylegans_zip_with_strange_labels_is_refused(tmp_path: Path, text: bytes, message: str) -> None:
    images = {f"{i}.png": made.encoded(made.pixels(i), "PNG") for i in range(2)}
    path = made.write_zip(tmp_path / "set.zip", {**images, "dataset.json": text})
    with pytest.raises(UserError, match=message):
        open_source("zip", [path])
    assert len(open_source("zip", [path], "none")) == 2


def test_real_lfw_photos_are_read_in_place() -> None:
    path = made.real_data("lfw.zip")
    source = open_source(guess_kind(path), [path])
    assert len(source) == 5600 and source.labels.names[0] == "Aaron_Peirsol"
    assert io.BytesIO(next(iter(source.entries(5599))).read()).read(2) == b"\xff\xd8"


@pytest.mark.parametrize(("kind", "options", "message"), [
    ("folder", {"split": "train"}, "--validation"), ("folder", {"annotations": Path("x")}, "is for celeba"),
    ("folder", {"labels": "identity"}, "--labels identity"), ("lsun", {"labels": "attributes"}, "--labels attributes"),
])
def test_options_that_do_not_apply_are_refused(tmp_path: Path, kind: str, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_source(kind, [made.write_folder(tmp_path, {"a": 1})], **options)
