"""`scalegan prepare` from end to end: the shards it writes, and what happens when something goes wrong."""

import contextlib
import dataclasses
import itertools
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import harness
import numpy as np
import pytest
import sources_made as made
import webdataset

from scalegan.commands.prepare import main, parse
from scalegan.data.codec import pixels_of
from scalegan.data.manifest import Index, Manifest
from scalegan.data.picture import crop, read_picture, resize
from scalegan.data.preparing import plan
from scalegan.errors import UserError

pytestmark = pytest.mark.slow

PATIENCE_SECONDS = 120


def prepare(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a finished set except prepare.json, which holds the source's path."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*"))
            if p.is_file() and p.name != "prepare.json"}


def stored(folder: Path) -> list[tuple[np.ndarray, object]]:
    """Pixels and label of every record, read by the index alone."""
    manifest, index = Manifest.load(folder), Index.load(folder / "index.safetensors")
    found, record = [], 0
    for shard in manifest.shards:
        content = (folder / shard.name).read_bytes()
        for _ in range(shard.records):
            begin, size = int(index.offsets[record]), int(index.sizes[record])
            label = index.labels[record] if len(index.labels) else None
            found.append((pixels_of(content[begin : begin + size], manifest.image), label))
            record += 1
    return found


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return made.write_folder(tmp_path / "photos", {"cat": 50, "dog": 60})


def test_every_record_is_cropped_resized_and_labelled(photos: Path, tmp_path: Path) -> None:
    assert prepare(photos, tmp_path / "set", "--resolution", 16, "--encoding", "png", "--workers", 2) == 0
    files = [photos / name / f"{i + 1}.jpg" for name, count in (("cat", 50), ("dog", 60)) for i in range(count)]
    found = stored(tmp_path / "set")
    assert len(found) == 110
    for file, (pixels, label) in zip(files, found):
        expected = resize(crop(read_picture(file.read_bytes()), "center"), 16, 3, "lanczos")
        assert (pixels == expected).all() and label == (file.parent.name == "dog"), file


def test_the_manifest_says_how_images_were_made(photos: Path, tmp_path: Path) -> None:
    prepare(photos, tmp_path / "set", "--resolution", 24, "--filter", "box", "--encoding", "webp", "--quality", 80)
    tree = json.loads((tmp_path / "set" / "manifest.json").read_text())
    assert tree["image"] == {"size": 24, "channels": 3, "encoding": "webp", "quality": 80, "crop": "center",
                             "filter": "box"}
    assert tree["labels"] == {"kind": "class", "names": ["cat", "dog"]}
    assert tree["source"] == "folder: photos"
    assert not (tmp_path / "set" / ".prepare").exists()
    assert (tmp_path / "set" / "rejected.jsonl").read_text() == ""


def test_the_webdataset_package_reads_the_shards(tmp_path: Path) -> None:
    source = made.write_files(tmp_path / "celeba", made.celeba_files(40))
    prepare(source, tmp_path / "set", "--kind", "celeba", "--crop", "celeba108")
    shards = sorted(map(str, (tmp_path / "set").glob("*.tar")))
    samples = list(webdataset.WebDataset(shards, shardshuffle=False).decode("rgb8"))
    assert len(samples) == 40
    for i, sample in enumerate(samples):
        assert sample["jpg"].shape == (64, 64, 3)
        assert sample["json"] == [i >> k & 1 for k in range(3)]
    prepare(source, tmp_path / "people", "--kind", "celeba", "--crop", "celeba108", "--labels", "identity")
    shards = sorted(map(str, (tmp_path / "people").glob("*.tar")))
    people = list(webdataset.WebDataset(shards, shardshuffle=False).decode("rgb8").to_tuple("jpg", "cls"))
    assert [label for _, label in people] == [i // 2 for i in range(40)]


@pytest.mark.parametrize("encoding", ["jpeg", "png", "webp", "raw"])
def test_workers_do_not_change_a_byte(photos: Path, tmp_path: Path, encoding: str) -> None:
    for workers in (1, 3):
        prepare(photos, tmp_path / str(workers), "--resolution", 16, "--encoding", encoding, "--workers", workers)
    assert contents(tmp_path / "1") == contents(tmp_path / "3")


def test_lsun_categories_end_to_end(tmp_path: Path) -> None:
    first = made.write_lmdb(tmp_path / "bedroom_train_lmdb", made.lsun_records(70))
    second = made.write_lmdb(tmp_path / "bridge_train_lmdb", made.lsun_records(30, first=500, format="WEBP"))
    prepare(first, second, tmp_path / "set", "--kind", "lsun", "--resolution", 16, "--encoding", "raw")
    found = stored(tmp_path / "set")
    assert [label for _, label in found] == [0] * 70 + [1] * 30
    values = [value for _, value in sorted(made.lsun_records(70).items())]
    assert (found[5][0] == resize(crop(read_picture(values[5]), "center"), 16, 3, "lanczos")).all()


@pytest.mark.parametrize("kind", ["cifar10 pickles", "grey", "one colour among grey"])
def test_channels_and_defaults(tmp_path: Path, kind: str) -> None:
    if kind == "cifar10 pickles":
        files, pictures = made.cifar_files(40)
        prepare(made.write_files(tmp_path / "cifar", files), tmp_path / "set")
        assert all((pixels == picture).all() for (pixels, _), picture in zip(stored(tmp_path / "set"), pictures))
        return
    grey = {f"{i}.png": made.encoded(made.pixels(i)[..., 0], "PNG") for i in range(200)}
    if kind == "grey":
        prepare(made.write_files(tmp_path / "grey", grey), tmp_path / "set")
        assert stored(tmp_path / "set")[0][0].shape == (64, 64, 1)
        return
    grey["1.png"] = made.encoded(made.pixels(1), "PNG")     # not among the 64 that are sampled
    prepare(made.write_files(tmp_path / "grey", grey), tmp_path / "set")
    assert "colour among grey" in (tmp_path / "set" / "rejected.jsonl").read_text()
    prepare(tmp_path / "grey", tmp_path / "colour", "--channels", 3)
    assert len(stored(tmp_path / "colour")) == 200


# Broken images


def test_broken_images_are_skipped_and_listed(photos: Path, tmp_path: Path) -> None:
    (photos / "cat" / "7.jpg").write_bytes(b"")
    (photos / "dog" / "8.jpg").write_bytes((photos / "dog" / "8.jpg").read_bytes()[:-100])
    assert prepare(photos, tmp_path / "set", "--resolution", 16, "--max-rejected", 0.02) == 0
    lines = [json.loads(line) for line in (tmp_path / "set" / "rejected.jsonl").read_text().splitlines()]
    assert [line["key"] for line in lines] == ["cat/7.jpg", "dog/8.jpg"]
    assert "empty" in lines[0]["reason"] and lines[1]["reason"]
    found = stored(tmp_path / "set")
    assert len(found) == 108 and [label for _, label in found] == [0] * 49 + [1] * 59


def test_too_many_broken_images_stop_it_and_allowing_more_resumes(photos: Path, tmp_path: Path) -> None:
    for i in range(1, 4):
        (photos / "dog" / f"{i}.jpg").write_bytes(b"broken")
    with pytest.raises(UserError, match=r"3 of 110 images have been rejected.*dog/3\.jpg.*--max-rejected 0\.02"):
        prepare(photos, tmp_path / "set", "--resolution", 16, "--max-rejected", 0.02)
    assert "dog/1.jpg" in (tmp_path / "set" / "rejected.jsonl").read_text()
    assert not (tmp_path / "set" / "manifest.json").exists()
    assert prepare(photos, tmp_path / "set", "--resolution", 16, "--max-rejected", 0.1) == 0
    assert len(stored(tmp_path / "set")) == 107


@pytest.mark.parametrize(("allowed", "accepted"), [
    ("2", False), ("3", True), ("0.02", False), ("3%", True), ("1", False), ("1.0", True), ("100%", True), ("0", False),
], ids=["two images", "three images", "a share that is too low", "a share in percent", "one image, not all of them",
        "all, as a share", "all, in percent", "none"])
def test_rejected_images_are_allowed_by_number_or_share(allowed: str, accepted: bool, photos: Path,
                                                         tmp_path: Path) -> None:
    for i in range(1, 4):
        (photos / "dog" / f"{i}.jpg").write_bytes(b"broken")
    given = (photos, tmp_path / "set", "--resolution", 16, "--max-rejected", allowed)
    if accepted:
        assert prepare(*given) == 0 and len(stored(tmp_path / "set")) == 107
        return
    with pytest.raises(UserError, match=rf"images have been rejected.*--max-rejected {allowed}.*1\.0 allows all"):
        prepare(*given)


def test_a_source_without_usable_images_fails_at_once(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none of the 64 sampled.*40 x 32 is not square"):
        prepare(photos, tmp_path / "set", "--crop", "none")
    assert not (tmp_path / "set").exists()


def test_a_shard_of_broken_images_only_is_left_out(tmp_path: Path) -> None:
    source = made.write_files(tmp_path / "celeba", made.celeba_files(96))
    for i in range(33, 65):
        (source / "img_align_celeba" / f"{i:06d}.jpg").write_bytes(b"broken")
    prepare(source, tmp_path / "set", "--resolution", 16, "--shard-records", 32, "--max-rejected", 0.5)
    assert [shard.name for shard in Manifest.load(tmp_path / "set").shards] == ["000000.tar", "000002.tar"]
    assert len(stored(tmp_path / "set")) == 64 and prepare(tmp_path / "set", "--verify") == 0


# Kills and resumption


def start(*arguments: object) -> subprocess.Popen:
    def heed_interrupts() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # it is ignored if the suite runs in the background

    return subprocess.Popen([sys.executable, "-m", "scalegan", "prepare", *map(str, arguments)],
                            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=harness.environment(),
                            start_new_session=True, preexec_fn=heed_interrupts)


def wait_for_shards(folder: Path, count: int, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(list((folder / ".prepare").glob("*.safetensors"))) < count:
        assert time.monotonic() < deadline and process.poll() is None, "it ended, or hung, before it could be killed"
        time.sleep(0.005)


def members(process: subprocess.Popen) -> list[int]:
    """The processes in the session of `process`."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            state, *_, session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(session) == process.pid and state != "Z":
                found.append(int(entry.name))
    return found


@pytest.fixture
def slow(tmp_path: Path) -> list[object]:
    """Arguments that take a few seconds: twenty shards, encoded slowly."""
    source = made.write_folder(tmp_path / "many", {"a": 320, "b": 320}, (150, 140))
    return [source, "--resolution", 128, "--encoding", "webp", "--shard-records", 32, "--workers", 2]


@pytest.mark.parametrize("finished", [1, 6])
def test_kill_9_and_the_same_command_give_the_same_bytes(slow: list[object], tmp_path: Path, finished: int) -> None:
    prepare(*slow, tmp_path / "straight")
    process = start(*slow, tmp_path / "killed")
    wait_for_shards(tmp_path / "killed", finished, process)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 10
    while members(process) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not members(process), "workers outlive their parent"
    kept = {p.stem for p in (tmp_path / "killed" / ".prepare").glob("*.safetensors")}
    before = {stem: (tmp_path / "killed" / f"{stem}.tar").stat() for stem in kept}
    assert finished <= len(kept) < 20
    assert prepare(*slow, tmp_path / "killed") == 0
    for stem, facts in before.items():
        after = (tmp_path / "killed" / f"{stem}.tar").stat()
        assert (after.st_ino, after.st_mtime_ns) == (facts.st_ino, facts.st_mtime_ns), "a finished shard was redone"
    assert contents(tmp_path / "killed") == contents(tmp_path / "straight")


def test_a_finished_shard_that_was_damaged_or_lost_is_written_again(slow: list[object], tmp_path: Path) -> None:
    process = start(*slow, tmp_path / "set")
    wait_for_shards(tmp_path / "set", 2, process)
    process.kill()
    process.wait()
    notes = sorted((tmp_path / "set" / ".prepare").glob("*.safetensors"))
    notes[0].write_bytes(notes[0].read_bytes()[:50])
    (tmp_path / "set" / f"{notes[1].stem}.tar").unlink()
    assert prepare(*slow, tmp_path / "set") == 0
    assert prepare(tmp_path / "set", "--verify") == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_one_line_with_75(slow: list[object], tmp_path: Path, number: int) -> None:
    process = start(*slow, tmp_path / "set")
    wait_for_shards(tmp_path / "set", 1, process)
    os.kill(process.pid, number)
    _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 75, errors
    assert "run the same command to resume" in errors and "Traceback" not in errors
    assert prepare(*slow, tmp_path / "set") == 0


def test_a_worker_that_dies_ends_it_with_a_clear_error(slow: list[object], tmp_path: Path) -> None:
    process = start(*slow, tmp_path / "set")
    wait_for_shards(tmp_path / "set", 1, process)
    workers = [pid for pid in members(process) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(workers[0], signal.SIGKILL)
    _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 1 and "a worker process died" in errors and "Traceback" not in errors
    assert prepare(*slow, tmp_path / "set") == 0


def test_two_calls_do_not_share_a_folder(slow: list[object], tmp_path: Path) -> None:
    process = start(*slow, tmp_path / "set")
    try:
        wait_for_shards(tmp_path / "set", 1, process)
        with pytest.raises(UserError, match="another `scalegan prepare`"):
            prepare(*slow, tmp_path / "set")
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(("option", "message"), [
    (("--resolution", 24), "begun with resolution=16"), (("--quality", 80), "begun with quality=95"),
    (("--labels", "none"), "begun with labels=auto"), (("--validation", 0.5), "begun with validation=0.0"),
])
def test_other_options_do_not_resume_a_set(photos: Path, tmp_path: Path, option: tuple, message: str) -> None:
    prepare(photos, tmp_path / "set", "--resolution", 16)
    assert prepare(photos, tmp_path / "set", "--resolution", 16, "--workers", 1) == 0     # says that it is complete
    with pytest.raises(UserError, match=message):
        prepare(photos, tmp_path / "set", "--resolution", 16, *option)


def test_a_changed_source_does_not_resume(photos: Path, tmp_path: Path) -> None:
    (photos / "dog" / "1.jpg").write_bytes(b"broken")
    with pytest.raises(UserError, match="rejected"):
        prepare(photos, tmp_path / "set", "--resolution", 16, "--max-rejected", 0)
    (photos / "dog" / "1.jpg").rename(photos / "cat" / "0.jpg")
    with pytest.raises(UserError, match="have changed since"):
        prepare(photos, tmp_path / "set", "--resolution", 16, "--max-rejected", 0.5)


def test_a_foreign_folder_is_not_written_to(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("...")
    with pytest.raises(UserError, match="not empty"):
        prepare(photos, tmp_path / "home")


# --verify, --dry-run, --validation


def _flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def _change_labels(folder: Path) -> None:
    index = Index.load(folder / "index.safetensors")
    dataclasses.replace(index, labels=index.labels[::-1].copy()).save(folder / "index.safetensors")


@pytest.mark.parametrize(("damage", "message"), [
    (lambda folder: _flip(folder / "000001.tar", 700), r"000001\.tar has 1 damaged record\(s\): 0"),
    (lambda folder: _flip(folder / "000001.tar", 2), r"000001\.tar does not have the SHA-256"),
    (lambda folder: (folder / "000002.tar").unlink(), r"000002\.tar is missing"),
    (lambda folder: os.truncate(folder / "000000.tar", 5000), r"000000\.tar has 5,000 bytes"),
    (lambda folder: _change_labels(folder), "index.safetensors does not match"),
], ids=["a record", "a header", "missing", "cut short", "index"])
def test_verify_finds_damage(photos: Path, tmp_path: Path, damage: object, message: str) -> None:
    prepare(photos, tmp_path / "set", "--resolution", 16)
    assert prepare(tmp_path / "set", "--verify") == 0
    damage(tmp_path / "set")
    with pytest.raises(UserError, match=message):
        prepare(tmp_path / "set", "--verify")


def test_verify_needs_a_set(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no manifest\.json"):
        prepare(tmp_path, "--verify")


def test_dry_run_writes_nothing_and_estimates_well(
        photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert prepare(photos, tmp_path / "set", "--resolution", 32, "--dry-run") == 0
    said = capsys.readouterr().out
    assert "110 images, 2 classes" in said and not (tmp_path / "set").exists()
    megabytes = float(said.split("about ")[1].split(" MB")[0])
    prepare(photos, tmp_path / "set", "--resolution", 32)
    written = sum(path.stat().st_size for path in (tmp_path / "set").glob("*.tar"))
    assert megabytes == pytest.approx(written / 1e6, rel=0.3, abs=0.06)


def test_validation_splits_by_the_keys_hash(photos: Path, tmp_path: Path) -> None:
    prepare(photos, tmp_path / "set", "--resolution", 16, "--encoding", "raw", "--validation", 0.3)
    prepare(photos, tmp_path / "whole", "--resolution", 16, "--encoding", "raw")
    parts = {name: {p.tobytes() for p, _ in stored(tmp_path / "set" / name)} for name in ("train", "val")}
    whole = {p.tobytes() for p, _ in stored(tmp_path / "whole")}
    assert parts["train"] | parts["val"] == whole and not parts["train"] & parts["val"]
    assert 0.15 < len(parts["val"]) / 110 < 0.45
    assert prepare(tmp_path / "set", "--verify") == 0
    more = made.write_folder(tmp_path / "more" / "photos", {"cat": 50, "dog": 60, "emu": 40})
    prepare(more, tmp_path / "grown", "--resolution", 16, "--encoding", "raw", "--validation", 0.3)
    assert parts["val"] <= {p.tobytes() for p, _ in stored(tmp_path / "grown" / "val")}


# The plan


@pytest.mark.parametrize(("records", "record_bytes", "expected"), [
    (3_033_042, 4_600, 14_592),     # LSUN bedroom at 64 px: 64 MB
    (3_033_042, 198_000, 352),      # and at 256 px, raw
    (202_599, 9_000, 3_328),        # CelebA: 64 shards at least
    (5_000, 4_600, 96), (100, 500, 32), (1, 500, 32),
])
def test_shards_are_64_megabytes_or_64_in_number(records: int, record_bytes: int, expected: int) -> None:
    assert plan.shard_records(records, record_bytes) == expected and expected % 32 == 0


class Counted:
    """A source of numbers that records how far it was read."""

    name, read = "counted", 0

    def __len__(self) -> int:
        return 1000

    def entries(self, begin: int | None = None):
        from scalegan.data.preparing.sources.base import Entry

        for i in range(begin or 0, 1000):
            yield Entry(f"key {i}", i % 3, i, lambda i=i: bytes([i % 256]))


@pytest.mark.parametrize("validation", [0.0, 0.2])
@pytest.mark.parametrize("per_shard", [32, 999, 1000, 5000])
def test_spans_cover_every_record_once(validation: float, per_shard: int) -> None:
    cut = plan.cut(Counted(), per_shard, validation)
    found: dict[str, list[int]] = {}
    for span in cut.spans:
        places = [entry.place for entry in plan.entries_of(Counted(), span, validation)]
        assert len(places) == span.records <= per_shard and span.first == len(found.get(span.subset, []))
        found.setdefault(span.subset, []).extend(places)
    assert all(places == sorted(places) for places in found.values())
    assert sorted(itertools.chain(*found.values())) == list(range(1000)) and cut.total == 1000


# The command line


def test_prepare_never_imports_torch(photos: Path, tmp_path: Path) -> None:
    code = ("import sys; from scalegan.commands.prepare import main; main(sys.argv[1:]); "
            "assert 'torch' not in sys.modules, 'torch'; assert 'torchvision' not in sys.modules")
    subprocess.run([sys.executable, "-c", code, str(photos), str(tmp_path / "set"), "--resolution", "16"], check=True,
                   capture_output=True, timeout=PATIENCE_SECONDS)


def test_help_and_mistakes(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    said = capsys.readouterr().out
    assert all(word in said for word in ("examples:", "--validation", "rejected.jsonl", "75"))
    for wrong in (["a", "b", "--kind", "imagenet"], ["a", "b", "--quality", "0"], ["a", "b", "--validation", "2"],
                  ["a", "b", "--workers", "x"], ["--resolution", "3"], ["only"]):
        with pytest.raises(SystemExit) as stopped:
            main(wrong)
        assert stopped.value.code == 2
    with pytest.raises(UserError, match="does not exist"):
        main(["nowhere", "x"])


def test_quality_needs_a_lossy_encoding(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--quality is for"):
        prepare(photos, tmp_path / "set", "--encoding", "png", "--quality", 90)


def test_options_may_come_anywhere() -> None:
    options = parse(["a", "--kind", "lsun", "b", "--resolution", "64", "c"])
    assert [p.name for p in options.source] == ["a", "b"] and options.dest.name == "c"


def test_the_tool_runs_the_same_command(photos: Path, tmp_path: Path) -> None:
    tool = harness.ROOT / "tools" / "prepare.py"
    done = subprocess.run([sys.executable, tool, photos, tmp_path / "set", "--resolution", "16"], cwd=tmp_path,
                          capture_output=True, text=True, timeout=PATIENCE_SECONDS, env=harness.environment())
    assert done.returncode == 0, done.stderr
    assert "looks like --kind folder" in done.stdout and (tmp_path / "set" / "manifest.json").exists()
    done = harness.cli("prepare", tmp_path / "nothing", tmp_path / "x")
    assert done.returncode == 1 and done.stderr.strip() == f"scalegan: error: {tmp_path / 'nothing'} does not exist"


def test_member_names_are_the_records_numbers(photos: Path, tmp_path: Path) -> None:
    prepare(photos, tmp_path / "set", "--resolution", 16, "--shard-records", 64)
    with tarfile.open(tmp_path / "set" / "000001.tar") as tar:
        assert tar.getnames()[:3] == ["000000064.jpg", "000000064.cls", "000000065.jpg"]


# Real photographs


def test_real_lsun_layout_end_to_end(tmp_path: Path) -> None:
    source = made.real_data("bedroom_houses_lmdb")
    prepare(source, tmp_path / "set", "--resolution", 64, "--encoding", "jpeg")
    found = stored(tmp_path / "set")
    assert len(found) == 534
    # A photograph keeps its contrast: crop and resize did not scramble it.
    assert np.mean([pixels.std() for pixels, _ in found]) > 40


def test_real_faces_end_to_end(tmp_path: Path) -> None:
    source = made.real_data("faces_celeba_layout.zip")
    prepare(source, tmp_path / "set", "--kind", "celeba", "--split", "test", "--crop", "celeba108", "--labels",
            "identity")
    manifest = Manifest.load(tmp_path / "set")
    assert manifest.records > 100 and manifest.image.crop == "celeba108" and manifest.image.size == 64
    assert prepare(tmp_path / "set", "--verify") == 0
