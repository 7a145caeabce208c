"""Trackers: each gets a run's figures once and in order, over resumes; none of them can stop, slow or change a run."""

import json
import os
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import accelerate
import harness
import pytest
from PIL import Image

from scalegan.config import Log, Recipe, loading
from scalegan.errors import RecipeError
from scalegan.training import trackers, tracking
from scalegan.training.tracking import Tracking

CONFIG = {"seed": 3, "optimizer": {"G": {"lr": 0.1}}}
FAILURES = ("start", "figures", "picture", "finish")


class Kept:
    """A tracker that keeps what it gets, and fails in the method that it is told to."""

    fails = ""

    def __init__(self, folder: Path) -> None:
        self.got: list[tuple[Any, ...]] = []
        self.all.append(self)

    def __init_subclass__(cls) -> None:
        cls.all = []

    def _note(self, what: str, *about: Any) -> None:
        if self.fails == what:
            raise ConnectionError("no network\nand more lines")
        self.got.append((what, *about))

    def start(self, known: str | None, config: dict[str, Any]) -> str:
        self._note("start", known, dict(config))
        return "the id"

    def figures(self, images: int, figures: dict[str, float]) -> None:
        self._note("figures", images, figures)

    def picture(self, images: int, path: Path) -> None:
        self._note("picture", images)

    def finish(self) -> None:
        self._note("finish")


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> type[Kept]:
    """A tracker in the place of wandb."""
    class Own(Kept):
        pass

    monkeypatch.setitem(trackers.TRACKERS, "wandb", Own)
    return Own


def recipe(*names: str) -> Recipe:
    return loading.load(["recipe=toy_lecture", f"log.trackers=[{','.join(names)}]"])


def track(folder: Path, images: int, upto: int, said: list[str], *names: str) -> None:
    """A session of a run that reports every 10 images and evaluates after every 20."""
    track = Tracking(folder, images, recipe(*names), CONFIG, said.append)
    for seen in range(images + 10, upto + 10, 10):
        if seen % 20 == 0:
            Image.new("RGB", (4, 4)).save(folder / f"{seen:012d}.png")
            track.picture(seen, folder / f"{seen:012d}.png")
        track.figures("report", seen, {"loss/G/fool": seen / 8, "diversity": float("nan")})
        if seen % 20 == 0:
            track.figures("evaluation", seen, {"eval/fid": seen / 4})
    track.close()


def test_a_resumed_run_goes_on_in_its_tracked_run_and_repeats_nothing(kept: type[Kept], tmp_path: Path) -> None:
    said: list[str] = []
    track(tmp_path, 0, 50, said, "wandb", "wandb")
    track(tmp_path, 20, 80, said, "wandb")      # from a checkpoint before the end
    first, second = kept.all
    assert first.got[0] == ("start", None, {"seed": 3, "optimizer.G.lr": 0.1})
    assert second.got[0][:2] == ("start", "the id")
    steps = [(entry[0], entry[1], *(entry[2] if entry[0] == "figures" else ())) for entry in first.got + second.got
             if entry[0] in ("figures", "picture")]
    assert len(steps) == len(set(steps)) == 8 + 4 + 4       # reports, evaluations, pictures
    assert [step[1] for step in steps] == sorted(step[1] for step in steps)
    assert first.got[-1] == second.got[-1] == ("finish",) and said == []
    track(tmp_path, 0, 10, said, "wandb")       # begun again, without a checkpoint
    assert kept.all[2].got[0][1] is None and len(kept.all[2].got) == 3


@pytest.mark.parametrize("fails", FAILURES)
def test_a_tracker_that_fails_is_left_alone_after_one_line(fails: str, kept: type[Kept], tmp_path: Path,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    class Other(Kept):
        pass

    kept.fails = fails
    monkeypatch.setitem(trackers.TRACKERS, "mlflow", Other)
    said: list[str] = []
    track(tmp_path, 0, 40, said, "wandb", "mlflow")
    assert len(said) == 1 and "\n" not in said[0]
    assert said[0].startswith("warning: wandb tracks this run no longer: ConnectionError: no network;")
    assert [entry[0] for entry in Other.all[0].got].count("figures") == 6 and Other.all[0].got[-1] == ("finish",)


def test_a_tracker_that_hangs_delays_nothing(kept: type[Kept], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.setattr(kept, "start", lambda self, known, config: released.wait(60) and "the id")
    monkeypatch.setattr(tracking, "_LAST_SECONDS", 0.05)
    said: list[str] = []
    begun = time.monotonic()
    track(tmp_path, 0, 200, said, "wandb")
    assert time.monotonic() - begun < 5
    assert ["has not sent everything" in line for line in said] == [True]
    released.set()


def test_a_damaged_record_begins_a_new_tracked_run(kept: type[Kept], tmp_path: Path) -> None:
    for number, text in enumerate(("", "{", "[]", '{"id": 3, "last": {}}', '{"id": "a", "last": {"report": -1}}')):
        (tmp_path / "wandb.json").write_text(text)
        said: list[str] = []
        track(tmp_path, 20, 30, said, "wandb")
        assert kept.all[number].got[0][:2] == ("start", None) and said == []


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    trackers.check_installed(recipe("tensorboard"))
    for name in trackers.TRACKERS:
        with pytest.raises(RecipeError, match=rf"pip install 'scalegan\[{name}\]'"):
            trackers.check_installed(recipe("tensorboard", name))


def test_trackers_are_names_with_commas_or_lists() -> None:
    assert loading.load(["recipe=toy_lecture", "log.trackers=tensorboard,wandb"]).log.trackers == ("tensorboard",
                                                                                                  "wandb")
    assert loading.load(["recipe=toy_lecture", "log.trackers=[]"]).log.trackers == ()
    assert Log().trackers == ("tensorboard",)
    with pytest.raises(RecipeError, match=r"log\.trackers"):
        loading.load(["recipe=toy_lecture", "log.trackers=[clearml]"])


# What each tracker has of a run: {figure: [(images, value), ...]}, the configuration's seed, the number of pictures.


def of_wandb(folder: Path) -> tuple[dict[str, list[tuple[int, float]]], int, int]:
    from wandb.proto import wandb_internal_pb2

    found: dict[str, list[tuple[int, float]]] = {}
    seeds, pictures = set(), 0
    sessions = sorted((folder / "wandb").glob("offline-run-*/*.wandb"), key=lambda path: path.stat().st_mtime_ns)
    assert len(sessions) == 2 and len({path.name for path in sessions}) == 1    # named by the tracked run's id
    for path in sessions:
        for data in chunks(path.read_bytes()):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            updates = [*record.config.update, *record.run.config.update]
            seeds |= {item.value_json for item in updates if "seed" in (item.key, *item.nested_key)}
            row = {item.key or item.nested_key[0]: item.value_json for item in record.history.item}
            for name, value in row.items():
                if "/" in name:
                    found.setdefault(name, []).append((int(row["images"]), float(value)))
            pictures += "samples" in row
    seed, = seeds
    return found, int(seed), pictures


def chunks(log: bytes) -> Iterator[bytes]:
    """The records of a log in LevelDB's format: in blocks of 32 KiB, pieces of records with headers of 7 bytes."""
    record, place = b"", 7      # after the file's own header
    while place + 7 <= len(log):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", log, place)
        record += log[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):      # whole, or the last piece
            yield record
            record = b""


def of_mlflow(folder: Path) -> tuple[dict[str, list[tuple[int, float]]], int, int]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    run, = client.search_runs([e.experiment_id for e in client.search_experiments()])
    history = {name: [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, name)]
               for name in run.data.metrics if "/" in name}
    return history, int(run.data.params["seed"]), len(client.list_artifacts(run.info.run_id, "samples"))


def of_trackio(folder: Path) -> tuple[dict[str, list[tuple[int, float]]], int, int]:
    import trackio
    from trackio.sqlite_storage import SQLiteStorage

    run, = trackio.Api().runs("scalegan")
    found: dict[str, list[tuple[int, float]]] = {}
    pictures = 0
    for row in SQLiteStorage.get_logs("scalegan", run.name):
        for name, value in row.items():
            if "/" in name:
                found.setdefault(name, []).append((row["step"], value))
        pictures += "samples" in row
    return found, run.config["seed"], pictures


def kept_locally(folder: Path) -> dict[str, str]:
    """The environment in which the packages write here and nowhere else."""
    return {"WANDB_MODE": "offline", "MLFLOW_TRACKING_URI": f"file://{folder}/mlruns", "HF_HUB_OFFLINE": "1",
            "TRACKIO_DIR": str(folder / "trackio"), "GIT_PYTHON_REFRESH": "quiet"}


def report() -> None:
    """Tracks two sessions of a run, in a process of its own, and prints what each tracker has of it."""
    folder, *names = sys.argv[1:]
    accelerate.PartialState(cpu=True)
    said: list[str] = []
    track(Path(folder), 0, 50, said, *names)
    track(Path(folder), 20, 80, said, *names)
    read = {"wandb": of_wandb, "mlflow": of_mlflow, "trackio": of_trackio}
    print(json.dumps({"said": said, **{name: read[name](Path(folder)) for name in names}}))


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the packages that are installed have of a run."""
    names, folder = [name for name in trackers.TRACKERS if find_spec(name)], tmp_path_factory.mktemp("tracked")
    path = os.pathsep.join(map(str, (harness.ROOT, harness.ROOT / "tests", Path(__file__).parent)))
    done = subprocess.run([sys.executable, "-c", "import test_tracking; test_tracking.report()", folder, *names],
                          env=harness.environment(**kept_locally(folder), PYTHONPATH=path), cwd=folder,
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["wandb", "mlflow", "trackio"])
def test_the_package_itself_has_every_figure_once(name: str, reported: dict[str, Any]) -> None:
    if name not in reported:
        pytest.skip(f"{name} is not installed")
    figures, seed, pictures = reported[name]
    assert reported["said"] == []
    assert figures == {"loss/G/fool": [[n, n / 8] for n in range(10, 90, 10)],
                       "eval/fid": [[n, n / 4] for n in range(20, 100, 20)]}
    assert seed == 3 and pictures == 4


@pytest.mark.slow
def test_a_run_has_the_same_bits_with_trackers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [name for name in trackers.TRACKERS if find_spec(name)]
    if not names:
        pytest.skip("no tracker's package is installed")
    for name, value in kept_locally(tmp_path).items():
        monkeypatch.setenv(name, value)
    run, alone = tmp_path / "run", tmp_path / "alone"
    toy = ("recipe=toy_lecture", "log.every_images=1000", "snapshot.every_images=2000")
    tracked = (*toy, f"run_dir={run}", f"log.trackers={','.join(names)}")
    harness.launch(1, *toy, f"run_dir={alone}", "total_images=4000", "log.trackers=[]")
    harness.launch(1, *tracked, "total_images=2000")
    harness.launch(1, *tracked, "total_images=4000")
    assert harness.digest(run) == harness.digest(alone)
    for name in names:
        assert json.loads((run / f"{name}.json").read_text())["last"] == {"report": 4000, "picture": 4000}
