"""The FFCV backend: the same records in the same order as WebDataset's, for any ranks and workers, without hangs."""

import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import harness
import numpy as np
import pytest
import sources_made as made
import torch

from scalegan.config import loading
from scalegan.data import beton_file
from scalegan.data.manifest import Index, LabelSchema, Manifest
from scalegan.data.opening import open_sources
from scalegan.data.preparing.shards import Record, finish, write_shard
from scalegan.data.preparing.verify import damage_of_set
from scalegan.data.reading.order import Order
from scalegan.data.reading.record_reader import OrderedReader, RecordReader
from scalegan.data.reading.stream import StoredBatch, Stream
from scalegan.data.reading.waiting import DataWait
from scalegan.data.reading.webdataset import WebDatasetReader
from scalegan.errors import RecipeError, UserError
from scalegan.metrics.images import StoredImages

pytestmark = pytest.mark.slow

try:
    beton_file.require()
    MISSING = ""
except UserError as error:
    MISSING = str(error)
needs_ffcv = pytest.mark.skipif(bool(MISSING), reason=MISSING)

if not MISSING:
    from scalegan.data.reading.ffcv_reader import FfcvReader, FfcvStream, Room

BATCH, LANES = 16, 4
TWO_EPOCHS = 2 * (304 // BATCH) + 3


def ordered(reader: RecordReader) -> OrderedReader:
    return OrderedReader(reader, Order(reader.sizes, BATCH, LANES, 0, 8, 2))


@pytest.fixture(scope="module")
def jpeg_set(tiny_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny_set` with data.beton next to its shards. Do not write to it."""
    folder = Path(shutil.copytree(tiny_set, tmp_path_factory.mktemp("ffcv") / "set"))
    beton_file.convert(folder)
    return folder


@pytest.fixture
def own_set(jpeg_set: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(jpeg_set, tmp_path / "own"))


def batches(folder: Path, count: int, workers: int, lanes: range = range(LANES),
            position: int = 0) -> list[StoredBatch]:
    stream = FfcvStream(ordered(FfcvReader(folder)), lanes, position, workers)
    return [stream.take() for _ in range(count)]


def expected(folder: Path, count: int, lanes: range = range(LANES), position: int = 0) -> list[StoredBatch]:
    stream = Stream(ordered(WebDatasetReader(folder)), lanes, position, 0)
    return [stream.take() for _ in range(count)]


def assert_equal(found: list[StoredBatch], wanted: list[StoredBatch]) -> None:
    assert [r.position for r in found] == [r.position for r in wanted]
    for one, other in zip(found, wanted, strict=True):
        assert one.samples.dtype == torch.uint8 and one.samples.equal(other.samples)
        assert one.labels is other.labels is None or one.labels.equal(other.labels)


@needs_ffcv
@pytest.mark.parametrize("workers", [0, 1, 2, 3])
@pytest.mark.parametrize("world", [1, 2, 4])
def test_ranks_take_what_webdataset_gives_them(world: int, workers: int, jpeg_set: Path) -> None:
    """Pixels too: both decode with the accurate DCT."""
    for rank in range(world):
        lanes = range(rank * LANES // world, (rank + 1) * LANES // world)
        assert_equal(batches(jpeg_set, TWO_EPOCHS, workers, lanes), expected(jpeg_set, TWO_EPOCHS, lanes))


@needs_ffcv
@pytest.mark.parametrize("batch", [1, 18, 19, 30])
@pytest.mark.parametrize("workers", [0, 2])
def test_from_a_position_on_as_straight(batch: int, workers: int, jpeg_set: Path) -> None:
    straight = expected(jpeg_set, TWO_EPOCHS)
    assert_equal(batches(jpeg_set, 8, workers, position=batch * BATCH), straight[batch : batch + 8])


@needs_ffcv
@pytest.mark.parametrize("encoding, kind, labels, channels", [
    ("raw", "celeba", "attributes", "3"), ("raw", "folder", "class", "1"), ("jpeg", "folder", "none", "1"),
    ("jpeg", "celeba", "attributes", "3")])
def test_prepared_sets_agree(encoding: str, kind: str, labels: str, channels: str, tmp_path: Path) -> None:
    source = (made.write_files(tmp_path / "source", made.celeba_files(100)) if kind == "celeba"
              else made.write_folder(tmp_path / "source", {"cat": 60, "dog": 40}))
    done = harness.cli("prepare", source, tmp_path / "set", "--resolution", 24, "--encoding", encoding, "--labels",
                       labels, "--channels", channels, "--format", "ffcv")
    assert done.returncode == 0, done.stderr
    assert "data.backend=ffcv" in done.stdout
    assert Manifest.load(tmp_path / "set").labels.kind == labels
    assert_equal(batches(tmp_path / "set", 14, 2), expected(tmp_path / "set", 14))


@needs_ffcv
def test_real_photos_decode_alike(tmp_path: Path) -> None:
    """With colour at half resolution and tables of many qualities, as cameras write them."""
    from scalegan.data.manifest import ImageFormat, LabelSchema
    from scalegan.data.preparing.shards import Record, finish, write_shard

    photos = [made.encoded(made.pixels(i, 48, 48), "JPEG", quality=70 + i % 25, subsampling=2) for i in range(64)]
    image = ImageFormat(48, 3, "jpeg", 90)
    shard, index = write_shard(tmp_path / "0.tar", [Record(photo, None) for photo in photos], 0, "jpeg")
    finish(tmp_path, [shard], [index], image, LabelSchema(), "photos")
    beton_file.convert(tmp_path)
    for one, other in zip(batches(tmp_path, 4, 1), expected(tmp_path, 4)):
        assert (one.samples.int() - other.samples.int()).abs().max() <= 2


@needs_ffcv
def test_a_beton_written_elsewhere_holds_the_same_data(tiny_set: Path, tmp_path: Path) -> None:
    """Manifest and index are the shards' own, content hash and all; the beton needs no shards."""
    path = beton_file.write_beton(tiny_set, tmp_path / "beton")
    for name in ("manifest.json", "index.safetensors"):
        assert (tmp_path / "beton" / name).read_bytes() == (tiny_set / name).read_bytes()
    assert path.name == "data.beton" and not list(path.parent.glob("*.t*"))
    assert_equal(batches(path.parent, 5, 1), expected(tiny_set, 5))
    assert dict(damage_of_set(path.parent)) == {"index.safetensors": None, "data.beton": None}


@needs_ffcv
def test_stored_bytes_are_unchanged_and_ffcv_itself_reads_them(jpeg_set: Path) -> None:
    """Colour images are in FFCV's own field; its fast DCT is slightly off."""
    from ffcv.fields.decoders import SimpleRGBImageDecoder
    from ffcv.loader import Loader, OrderOption
    from ffcv.reader import Reader
    from ffcv.transforms import ToTensor

    beton, index = jpeg_set / "data.beton", Index.load(jpeg_set / "index.safetensors")
    content, records = beton.read_bytes(), Reader(str(beton)).alloc_table
    tar = (jpeg_set / "000000.tar").read_bytes()
    for number in range(64):
        begin, offset, size = int(records["ptr"][number]), int(index.offsets[number]), int(index.sizes[number])
        assert content[begin : begin + size] == tar[offset : offset + size]
    threads = torch.get_num_threads()
    try:
        [pixels] = next(iter(Loader(str(beton), 8, num_workers=1, order=OrderOption.SEQUENTIAL, pipelines={
            "image": [SimpleRGBImageDecoder(), ToTensor()], "checksum": None})))
        theirs = pixels.clone().int()
    finally:
        torch.set_num_threads(threads)
    ours = np.empty((8, 16, 16, 3), np.uint8)
    FfcvReader(jpeg_set).pipeline(np.arange(8), ours)
    assert (theirs - torch.from_numpy(ours).int()).abs().float().mean() < 4


@needs_ffcv
def test_batches_in_use_are_not_overwritten(jpeg_set: Path) -> None:
    stream = FfcvStream(ordered(FfcvReader(jpeg_set)), range(LANES), 0, 2)
    taken = [stream.take() for _ in range(30)]
    part, copies = taken[3].samples[2:5, :, 4:], [reals.samples.clone() for reals in taken]
    copy = part.clone()
    for _ in range(30):
        stream.take()
    assert all(reals.samples.equal(copy) for reals, copy in zip(taken, copies))
    del taken, stream
    assert part.equal(copy)


@needs_ffcv
def test_memory_is_reused_once_nothing_refers_to_it() -> None:
    room = Room((4, 2, 2, 3), np.dtype(np.uint8), pin=False)
    first = room.take()
    view, place = first[1:], first.data_ptr()
    del first
    assert room.take().data_ptr() != place
    del view
    assert place in {room.take().data_ptr() for _ in range(1)}


@needs_ffcv
def test_threads_end_with_the_stream_and_leave_torchs_alone(jpeg_set: Path) -> None:
    before, threads = threading.active_count(), torch.get_num_threads()
    stream = FfcvStream(ordered(FfcvReader(jpeg_set)), range(LANES), 0, 3)
    stream.take()
    assert threading.active_count() == before + 3
    stream.close()
    assert threading.active_count() == before
    stream = FfcvStream(ordered(FfcvReader(jpeg_set)), range(LANES), 0, 2)
    stream.take()
    del stream
    assert threading.active_count() == before
    assert torch.get_num_threads() == threads


def damage(folder: Path, record: int, at: float, change: int = 255) -> None:
    """Flips bits of the byte at fraction `at` of a record's length."""
    from scalegan.data.beton_pipeline import Reader

    path = folder / "data.beton"
    place = Reader(str(path)).alloc_table[record]
    with path.open("r+b") as file:
        file.seek(int(place["ptr"]) + int(at * int(place["size"])))
        [byte] = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ change]))


@needs_ffcv
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("at, change", [(0.0, 255), (0.5, 1), (0.9, 128), (0.999, 1)])
def test_damaged_record_is_reported_and_nothing_hangs(at: float, change: int, workers: int, own_set: Path) -> None:
    damage(own_set, 7, at, change)
    with pytest.raises(UserError, match=r"record 7 in .*data\.beton is damaged \(its checksum differs\)"):
        batches(own_set, 40, workers)
    assert dict(damage_of_set(own_set))["data.beton"] == "has 1 damaged record(s): 7"


@needs_ffcv
def test_record_that_is_not_an_image_is_reported(own_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if the checksum is right but libjpeg-turbo cannot decode the bytes."""
    from scalegan.data import beton_pipeline

    damage(own_set, 7, 0.0)
    chunks = FfcvReader(own_set)
    place, size = chunks.pipeline.places[7], chunks.pipeline.sizes[7]
    chunks.pipeline.checksums[7] = beton_pipeline.checksum(np.array(chunks.pipeline.file[place : place + size]))
    stream = FfcvStream(ordered(chunks), range(LANES), 0, 1)
    with pytest.raises(UserError, match=r"record 7 .*cannot be decoded"):
        for _ in range(40):
            stream.take()


@needs_ffcv
@pytest.mark.parametrize("harm", ["cut in data", "cut in table", "empty", "header", "a bit of the header", "places",
                                  "another set's"])
def test_file_that_does_not_fit_is_refused(harm: str, own_set: Path, tmp_path: Path) -> None:
    path = own_set / "data.beton"
    content = bytearray(path.read_bytes())
    if harm == "another set's":
        other = harness.make_set(tmp_path / "other", (64, 64, 64, 64, 40))
        content = bytearray(beton_file.write_beton(other, tmp_path / "other").read_bytes())
    elif harm == "header":
        content[:64] = bytes(64)
    elif harm == "a bit of the header":
        content[14] ^= 1
    elif harm == "places":
        content[-12] ^= 255     # in the last record's place
    elif harm != "empty":
        del content[-100 if harm == "cut in table" else len(content) // 2 :]
    path.write_bytes(b"" if harm == "empty" else content)
    with pytest.raises(UserError, match=r"data\.beton is damaged, or not written by ScaleGAN.*--format ffcv"):
        FfcvReader(own_set)
    assert dict(damage_of_set(own_set))["data.beton"]


@needs_ffcv
def test_another_raw_sets_file_is_refused(tmp_path: Path) -> None:
    """Even if it has the same number of records, of the same length."""
    ours = harness.make_set(tmp_path / "ours", (64,), "raw")
    image = Manifest.load(ours).image
    shard, index = write_shard(tmp_path / "000000.tar", [Record(bytes(768), 0)] * 64, 0, "raw")
    finish(tmp_path, [shard], [index], image, LabelSchema("class", ("black",)), "made up")
    shutil.copy(beton_file.write_beton(tmp_path, tmp_path), ours)
    with pytest.raises(UserError, match=r"data\.beton is damaged, or not written by ScaleGAN .*do not match index"):
        FfcvReader(ours)


@needs_ffcv
def test_a_beton_alone_is_evaluated(own_set: Path, tiny_set: Path) -> None:
    for shard in own_set.glob("*.tar"):
        shard.unlink()
    alone, whole = StoredImages(own_set), StoredImages(tiny_set)
    assert alone.content == whole.content and len(alone) == 304
    assert all((alone.read(number) == whole.read(number)).all() for number in (0, 63, 64, 303))


@needs_ffcv
def test_an_error_is_not_skipped(own_set: Path) -> None:
    damage(own_set, 7, 0.0)
    stream = FfcvStream(ordered(FfcvReader(own_set)), range(LANES), 0, 2)
    for _ in range(3):
        with pytest.raises(UserError, match=r"record 7 "):
            for _ in range(40):
                stream.take()


@needs_ffcv
def test_worker_that_dies_or_fails_is_reported(jpeg_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DataWait, "poll_seconds", 0.1)
    stream = FfcvStream(ordered(FfcvReader(jpeg_set)), range(LANES), 0, 2)
    stream._threads.stop()
    with pytest.raises(UserError, match="threads died"):
        for _ in range(100):
            stream.take()
    chunks = FfcvReader(jpeg_set)
    monkeypatch.setattr(chunks, "pipeline", None)
    with pytest.raises(AttributeError):     # a bug in a thread must not cause a wait
        FfcvStream(ordered(chunks), range(LANES), 0, 2).take()


@needs_ffcv
def test_slow_disk_is_waited_for_with_a_warning(jpeg_set: Path, monkeypatch: pytest.MonkeyPatch,
                                          capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(DataWait, "poll_seconds", 0.1)
    monkeypatch.setattr(DataWait, "warn_every", 0.1)
    chunks = FfcvReader(jpeg_set)
    decode = chunks.pipeline
    monkeypatch.setattr(chunks, "pipeline", SlowDisk(decode))
    stream = FfcvStream(ordered(chunks), range(LANES), 0, 1)
    assert stream.take().samples.equal(expected(jpeg_set, 1)[0].samples)
    assert "waiting for data for 0.1 s; is the disk slow?" in capsys.readouterr().err


class SlowDisk:
    """A pipeline that takes its time."""

    def __init__(self, pipeline: object) -> None:
        self.pipeline = pipeline

    def __getattr__(self, name: str) -> object:
        return getattr(self.pipeline, name)

    def __call__(self, *arguments: object) -> object:
        time.sleep(0.3)
        return self.pipeline(*arguments)


@needs_ffcv
def test_conversion_refuses_what_it_cannot_keep(own_set: Path, tmp_path: Path) -> None:
    png = harness.make_set(tmp_path / "png", encoding="png")
    with pytest.raises(UserError, match=r"jpeg or raw, not png; prepare with --encoding raw"):
        beton_file.convert(png)
    (own_set / "data.beton").unlink()
    index = Index.load(own_set / "index.safetensors")
    with (own_set / "000001.tar").open("r+b") as file:
        file.seek(int(index.offsets[70]) + 30)
        file.write(b"\0\0")
    with pytest.raises(UserError, match=r"record 70 in .*000001\.tar is damaged"):
        beton_file.convert(own_set)
    assert not (own_set / "data.beton").exists()
    (own_set / "000001.tar").unlink()
    with pytest.raises(UserError, match=r"cannot open .*000001\.tar"):
        beton_file.convert(own_set)


@needs_ffcv
def test_the_checksum_detects_typical_disk_damage() -> None:
    from scalegan.data.beton_pipeline import checksum

    data = np.random.default_rng(0).integers(0, 256, 1003).astype(np.uint8)
    found = {checksum(data), checksum(data[:-1]), checksum(np.append(data, np.uint8(0)))}
    for at in range(len(data)):
        for bit in (0, 7):
            changed = data.copy()
            changed[at] ^= 1 << bit
            found.add(checksum(changed))
    for first, second in ((7, 15), (7, 39), (63, 999)):     # the same bit twice, as from a faulty data line
        changed = data.copy()
        changed[[first, second]] ^= 128
        found.add(checksum(changed))
    swapped = data.copy()
    swapped[:8], swapped[32:40] = data[32:40], data[:8]
    zeroed = data.copy()
    zeroed[512:] = 0
    assert len({*found, checksum(swapped), checksum(zeroed)}) == 3 + 2 * len(data) + 3 + 2


def _recipe(folder: Path, **data: object) -> object:
    return loading.parse({"run_dir": "x", "total_images": 64, "batch_size": 16, "lanes": 4, "data": {
        "path": str(folder), "backend": "ffcv", "resolution": 16, "labels": "class", **data}}, "test")


@needs_ffcv
def test_recipes_open_the_backend(jpeg_set: Path) -> None:
    source = open_sources(_recipe(jpeg_set))["real"]
    assert isinstance(source.records.reader, FfcvReader) and source.content == Manifest.load(jpeg_set).content
    assert source.spec.classes == 4 and len(source.conditions) == 304
    stream = source.open(range(4), 0, False)
    assert isinstance(stream, FfcvStream) and len(stream.take().samples) == 16


def test_what_it_cannot_read_is_refused(tiny_set: Path) -> None:
    with pytest.raises(UserError, match=r"data\.beton does not exist.*--format ffcv"):
        open_sources(_recipe(tiny_set))
    with pytest.raises(RecipeError, match="local files"):
        open_sources(_recipe(Path("x"), path="memory://x"))


@needs_ffcv
def test_a_run_is_the_same_bits_from_either_backend(jpeg_set: Path, tiny_recipe: Path, finished_run: Path,
                                                    tmp_path: Path) -> None:
    """Resumed with the other backend: the backend is not part of a run's identity."""
    arguments = (f"recipe={tiny_recipe}", f"run_dir={tmp_path / 'run'}", f"data.path={jpeg_set}", "data.workers=2")
    harness.train(*arguments, "data.backend=ffcv", "total_images=1280")
    harness.train(*arguments, "data.backend=webdataset")
    assert harness.digest(tmp_path / "run") == harness.digest(finished_run)


BLOCKED = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "ffcv":
            raise ImportError("No module named 'ffcv'")
sys.meta_path.insert(0, Block())
from scalegan.cli import main
sys.argv = ["scalegan", *sys.argv[1:]]
sys.exit(main())
"""


@pytest.mark.parametrize("verb", ["train", "prepare"])
def test_missing_package_is_named_in_one_line(verb: str, tiny_set: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_set, tmp_path / "set"))
    (folder / "data.beton").write_bytes(b"stands for one")
    photos = made.write_folder(tmp_path / "photos", {"cat": 3})
    arguments = {
        "train": ["train", "recipe=quickstart", f"data.path={folder}", "data.resolution=16", "data.backend=ffcv",
                  f"run_dir={tmp_path / 'run'}"],
        "prepare": ["prepare", str(photos), str(tmp_path / "out"), "--format", "ffcv"],
    }[verb]
    done = subprocess.run([sys.executable, "-c", BLOCKED, *arguments], env=harness.environment(), capture_output=True,
                          text=True, timeout=harness.PATIENCE_SECONDS)
    said = [line for line in done.stderr.splitlines() if "FFCV cannot be imported" in line]
    assert done.returncode in (1, 2) and len(said) == 1 and "Traceback" not in done.stderr, done.stderr
    assert "apt-get install g++ pkg-config libopencv-dev libturbojpeg0-dev" in said[0]
    assert "pip install -e '.[ffcv]'" in said[0]
    assert not list((tmp_path / "out").rglob("*.tar"))
