"""Damaged files in a run's folder: what is left of them is used, or one line says what is wrong."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import digest, ends, reports

from scalegan.cluster import job_outcome, records, status
from scalegan.cluster.job_states import JobStates
from scalegan.errors import UserError
from scalegan.metrics import results
from scalegan.monitor.comparison import compared
from scalegan.monitor.run import Run
from scalegan.support.reading import DamagedFile
from scalegan.support.yaml_files import read_keys
from scalegan.training.run_lock import RunLock

DEEP = b"[" * 10_000 + b"]" * 10_000
HUGE = b'{"images": 1' + b"0" * 4000 + b"}"
LINES = {"half a line": b'{"images": 6', "a number": b"3\n", "a list": b"[1]\n", "text": b"images\n",
         "nested": DEEP + b"\n", "not UTF-8": b'{"images": "\xff"}\n', "null": b"null\n",
         "another type": b'{"images": "many", "event": 3}\n', "a negative number": b'{"images": -5}\n',
         "NaN": b'{"images": NaN}\n', "a number of 4,000 digits": HUGE + b"\n",
         "nothing": b"\n", "a field missing": b"{}\n", "zeros": b"\0" * 100 + b"\n"}
damaged_line = pytest.mark.parametrize("line", LINES.values(), ids=LINES)
DOCUMENTS = {**LINES, "an empty file": b"", "a field of another type": b'[{"from": 1, "to": "here", "attempt": 1}]'}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    run = tmp_path / "run"
    (run / "job").mkdir(parents=True)
    (run / "config.yaml").write_text("total_images: 1000\n")
    return run


@damaged_line
def test_history(line: bytes, run: Path) -> None:
    """A line half-written when its process was killed neither stops requeues nor swallows the next event."""
    records.note(run, "started", "7", 0, nodes="n1", ranks=2)
    with (run / "job" / "history.jsonl").open("ab") as file:
        file.write(line)
    records.note(run, "requeued", "7", 0, because="lost ranks", images=64)
    records.note(run, "started", "8", 0, nodes="n2", ranks=2)
    assert [event["event"] for event in records.history(run, "7")] == ["started", "requeued"]
    assert len(records.history(run)) == 3
    assert job_outcome.cause(1, records.history(run, "7"), lambda: False) == "lost ranks"
    assert status.describe(run)["state"] == "not running"


@damaged_line
def test_metrics(line: bytes, run: Path, tmp_path: Path) -> None:
    whole = [{"images": 64, "images_per_second": 5.0, "loss": 1.0}, {"images": 128, "loss": float("nan")}]
    (run / "metrics.jsonl").write_bytes(line.rstrip(b"\n") + b"\n" + b"".join(
        json.dumps(row).encode() + b"\n" for row in whole) + line)
    assert status.describe(run)["images"] == 128
    seen = Run(run, "run")
    assert seen.details()["curves"]["loss"] == [[64], [1.0]] and seen.row(JobStates())["images"] == 128
    assert [event["images"] for event in seen.details()["events"]] == [128]


@pytest.mark.parametrize("value", [1e308, -1e308, float("inf"), 10**400, True, None, [1], {"a": 1}])
def test_figures_that_cannot_be_drawn(value: object, run: Path) -> None:
    rows = [{"images": 64, "loss": 1.0, "odd": value}, {"images": 10**400, "loss": 2.0}, {"images": 128, "loss": 3.0}]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    curves = Run(run, "run").details()["curves"]
    assert curves == {"loss": [[64, 128], [1.0, 3.0]]}


@pytest.mark.parametrize("rate", ["NaN", "Infinity", "0", "-1", '"fast"', "1e999"])
def test_a_rate_that_is_none(rate: str, run: Path) -> None:
    (run / "metrics.jsonl").write_text('{"images": 64}\n{"images": 128, "images_per_second": ' + rate + "}\n")
    assert status.describe(run)["images"] == 64


@damaged_line
def test_evaluations(line: bytes, run: Path) -> None:
    result = {"metrics": {"fd": 3.0, "kid": float("nan")}, "images": 64, "in_training": True, "resize": "clean",
              "extractor": {"name": "x", "sha256": "y"}, "data": None, "num_samples": 5, "constants": {}}
    (run / "evaluations.jsonl").write_bytes(json.dumps(result).encode() + b"\n" + line)
    assert [row["images"] for row in results.read(run)] == [64]
    results.append(run, {**result, "images": 128})
    results.append(run, {**result, "images": 192})
    results.remove_after(run, 128)
    assert [row["images"] for row in results.read(run)] == [64, 128]
    seen = Run(run, "run")
    assert [each["figures"].keys() for each in compared([seen])["evaluations"][seen.id]][-1] >= {"fd"}


@pytest.mark.parametrize("content", DOCUMENTS.values(), ids=DOCUMENTS)
def test_job_and_lease(content: bytes, run: Path) -> None:
    (run / "job" / "job.json").write_bytes(content)
    with pytest.raises(UserError, match=r"job\.json.*delete the file") as caught:
        records.read_job(run)
    assert "\n" not in str(caught.value)
    for name in (".lease", ".lock"):
        (run / name).write_bytes(content)
    assert records.trainer(run) is None or content
    (run / ".lease").unlink()
    (run / ".lease").write_bytes(b"")
    RunLock(run).release()


@pytest.mark.parametrize("name", [".lease", "metrics.jsonl", "evaluations.jsonl", "job/history.jsonl", "job/job.json"])
def test_a_pipe_in_place_of_a_file_is_not_waited_for(name: str, run: Path) -> None:
    os.mkfifo(run / name)
    for read in (status.describe, lambda run: Run(run, "run").row(JobStates()), records.history, records.trainer):
        try:
            read(run)
        except UserError as error:
            assert name in str(error)
    if name == ".lease":
        with pytest.raises(UserError, match="is not a regular file; remove it"):
            RunLock(run)


@pytest.mark.parametrize("text, says", [
    ("[1, 2]", "must consist of"), ("a: &x [*x]\n", "stands inside"), ("[" * 5000, "must consist of"),
    ("a: {" * 50 + "}" * 50, "nested"), ("a: b: c", "cannot read"), ("", "must consist of"),
    ("a: '${b'", "cannot read")])
def test_config(text: str, says: str, run: Path) -> None:
    (run / "config.yaml").write_text(text)
    for read in (read_keys, lambda path: Run(path.parent, "run").checked_recipe()):
        with pytest.raises(DamagedFile, match=says) as caught:
            read(run / "config.yaml")
        assert str(run / "config.yaml") in str(caught.value) and "\n" not in str(caught.value)
    assert status.describe(run)["total_images"] is None


def test_names_that_are_no_numbers(run: Path) -> None:
    (run / "samples").mkdir()
    for name in ("²", "٣٣", "notes", "000000000064"):
        (run / "samples" / f"{name}.png").write_bytes(b"")
        (run / f"config.{name}.yaml").write_text("total_images: ٣\n")
    assert [images for images, _ in Run(run, "run").pictures] == [64] and status.describe(run)["total_images"] is None


@pytest.fixture(scope="module")
def short(tiny_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 128 images, with two reports."""
    run = tmp_path_factory.mktemp("damaged") / "short"
    assert ends(1, f"recipe={tiny_recipe}", f"run_dir={run}", "total_images=128", "log.every_images=64",
                "snapshot.every_images=0") == [(0, "")]
    return run


@pytest.mark.slow
@pytest.mark.parametrize("name, damage, says", [
    ("metrics.jsonl", lambda content: b"".join(LINES.values()) + b"\n" + content + b'{"images": 1', None),
    ("rollbacks.json", lambda content: DOCUMENTS["a field of another type"], r"rollbacks\.json.*delete it to resume"),
    ("rollbacks.json", lambda content: DEEP, r"rollbacks\.json.*delete it to resume"),
    ("rollbacks.json", lambda content: b'[{"to": 128}]', r"rollbacks\.json.*delete it to resume"),
    ("evaluations.jsonl", lambda content: b"".join(LINES.values()), None),
    (".lease", lambda content: b"\xff\xfe", None)])
def test_training_goes_on_or_says_what_to_do(name: str, damage: Callable[[bytes], bytes], says: str | None,
                                             short: Path, tiny_recipe: Path, tmp_path: Path) -> None:
    run = shutil.copytree(short, tmp_path / "run")
    path = run / name
    path.write_bytes(damage(path.read_bytes() if path.exists() else b""))
    (code, found), = ends(1, f"recipe={tiny_recipe}", f"run_dir={run}", "total_images=192", "log.every_images=64",
                          "snapshot.every_images=0")
    if says:
        assert code == 1 and re.search(says, found) and "\n" not in found and digest(run) == digest(short)
    else:
        assert (code, [row["images"] for row in reports(run)]) == (0, [64, 128, 192]), found
