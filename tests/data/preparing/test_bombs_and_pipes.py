"""Sources that unpack to far more than they are, and pipes and devices in place of files: a line, no hang, no
gigabytes."""

import gzip
import json
import os
import resource
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import sources_made as made
from harness import ROOT, environment, make_set

from scalegan.data.manifest import Index, Manifest
from scalegan.data.preparing.sources import open_source
from scalegan.data.preparing.sources.stores import LARGEST, open_store
from scalegan.errors import UserError

JPEG = made.encoded(made.pixels(1))


def zipped(path: Path, content: bytes, says: int | None = None, packed_says: int | None = None,
           offset: int | None = None) -> Path:
    """A zip of 1.jpg, which its directory describes otherwise than it is."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("1.jpg", content)
        archive.writestr("2.jpg", JPEG)
    raw = bytearray(path.read_bytes())
    entry = raw.index(b"PK\x01\x02")
    for place, value in ((20, packed_says), (24, says), (42, offset)):
        if value is not None:
            raw[entry + place : entry + place + 4] = struct.pack("<I", value)
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize("make, words", [
    (lambda path: zipped(path, bytes(LARGEST + 1)), "it is larger than 268,435,456 bytes"),
    (lambda path: zipped(path, bytes(100 << 20), says=1000), "the file has more bytes than it says"),
    (lambda path: zipped(path, JPEG, says=len(JPEG) + 1), "the file has fewer bytes than it says"),
    (lambda path: zipped(path, JPEG, packed_says=200 << 20), "the zip is damaged at this file"),
    (lambda path: zipped(path, JPEG, packed_says=0xFFFFFFF0), "it is larger than"),
    (lambda path: zipped(path, JPEG, offset=0x7FFFFFFF), "the zip is damaged at this file"),
], ids=["an honest bomb", "a bomb that says little", "less than it says", "packed beyond the file", "packed 4 GB",
        "beyond the file"])
def test_a_zip_is_bounded_by_what_it_declares(make: Callable, words: str, tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    path = make(tmp_path / "bomb.zip")
    made_by = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    store = open_store(path)
    with pytest.raises(ValueError, match=words):
        store.read("1.jpg")
    assert store.read("2.jpg") == JPEG
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - max(before, made_by) < 100_000


def tar_header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member.tobuf(tarfile.GNU_FORMAT)


def tar_bomb(path: Path, header: bytes, size: int) -> Path:
    """A compressed tar of one member of zeros; gzip's members of a megabyte each are repeated."""
    million = gzip.compress(bytes(1 << 20), 9)
    path.write_bytes(gzip.compress(header) + million * (size >> 20))
    return path


@pytest.mark.parametrize("kind, size, words", [
    (tarfile.REGTYPE, 3 << 30, r"unpacks to more than 2,147,483,648 bytes; unpack it and use the folder"),
    (tarfile.XHDTYPE, 300 << 20, r"is not a complete tar \(.*a header is larger"),
    (tarfile.GNUTYPE_LONGNAME, 300 << 20, r"is not a complete tar \(.*a header is larger"),
], ids=["a file", "a header of attributes", "a long name"])
def test_a_tar_is_bounded(kind: bytes, size: int, words: str, tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    path = tar_bomb(tmp_path / "cifar-10-python.tar.gz", tar_header("data_batch_1", size, kind), 64 << 20)
    with pytest.raises(UserError, match=words) as error:
        open_source("cifar10", [path])
    assert "\n" not in str(error.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


PIPES = {"a pipe": lambda path: os.mkfifo(path), "a device": lambda path: path.symlink_to("/dev/zero")}


@pytest.fixture(params=PIPES, ids=PIPES)
def plant(request: pytest.FixtureRequest) -> Callable[[Path], None]:
    return PIPES[request.param]


@pytest.mark.parametrize("name, kind", [("x.zip", "zip"), ("x.tar.gz", "cifar10"), ("x.mdb", "lsun"), ("x", "folder"),
                                        ("x.zip", "celeba")])
def test_a_pipe_in_place_of_a_source(name: str, kind: str, plant: Callable, tmp_path: Path) -> None:
    plant(tmp_path / name)
    with pytest.raises(UserError, match="is not a regular file"):
        open_source(kind, [tmp_path / name])


def test_a_pipe_in_place_of_a_database(plant: Callable, tmp_path: Path) -> None:
    (tmp_path / "bedroom_lmdb").mkdir()
    plant(tmp_path / "bedroom_lmdb" / "data.mdb")
    with pytest.raises(UserError, match=r"data\.mdb is not a regular file"):
        open_source("lsun", [tmp_path / "bedroom_lmdb"])


def test_a_pipe_among_pictures_is_an_unreadable_picture(plant: Callable, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.jpg").write_bytes(JPEG)
    plant(tmp_path / "a" / "2.jpg")
    source = open_source("folder", [tmp_path / "a"])
    (_, good), (_, bad) = source.sample(2)
    assert good == JPEG and isinstance(bad, ValueError) and "is not a regular file" in str(bad)


@pytest.mark.parametrize("name, read", [("manifest.json", lambda folder: Manifest.load(folder)),
                                        ("index.safetensors", lambda folder: Index.load(folder / "index.safetensors"))])
def test_a_pipe_in_place_of_a_file_of_a_set(name: str, read: Callable, plant: Callable, tmp_path: Path) -> None:
    folder = make_set(tmp_path / "set", (8,))
    (folder / name).unlink()
    plant(folder / name)
    with pytest.raises(UserError, match=f"{name} is not a regular file"):
        read(folder)


@pytest.mark.slow
def test_verbs_end_in_a_line(plant: Callable, tmp_path: Path, finished_run: Path) -> None:
    """Each verb that reads a file by name, in one process that is killed if it waits."""
    pipe = tmp_path / "pipe.zip"
    plant(pipe)
    weights, named = tmp_path / "weights.pth", tmp_path / "x.safetensors"
    plant(weights)
    plant(named)
    calls = [["prepare", pipe, tmp_path / "out"], ["prepare", tmp_path / "set", "--verify"],
             ["evaluate", pipe, "--data", pipe], ["evaluate", named, "--data", pipe],
             ["sample", named, "--out", tmp_path / "out"], ["export", named, "--out", tmp_path / "y.safetensors"],
             ["convert", weights, "--family", "dcgan", "--out", tmp_path / "y.safetensors"],
             ["inspect", named], ["compare", named, "--out", tmp_path / "z.html"],
             ["train", f"recipe={tmp_path}/pipe.yaml"],
             ["evaluate", finished_run, "--data", pipe, "--extractor", "inception", "--weights", weights]]
    plant(tmp_path / "pipe.yaml")
    folder = make_set(tmp_path / "set", (8,))
    (folder / "000000.tar").unlink()
    plant(folder / "000000.tar")
    program = ("import sys, json\nfrom scalegan.cli import main\nfor call in json.loads(sys.argv[1]):\n"
               "    print('===', call[0], file=sys.stderr, flush=True)\n    sys.argv = ['scalegan', *call]\n"
               "    try:\n        code = main()\n    except SystemExit as error:\n        code = error.code\n"
               "    assert code not in (0, None), call\n")
    done = subprocess.run([sys.executable, "-c", program, json.dumps([list(map(str, call)) for call in calls])],
                          env=environment(), cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert done.stderr.count("===") == len(calls)
