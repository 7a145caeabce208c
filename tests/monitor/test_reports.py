"""What is read of a run that is still writing: curves in few points, and what went wrong."""

import itertools
import json
import os
from pathlib import Path

import numpy as np
import pytest
from runs_made import curve, make_run

from scalegan.cluster.job_states import JobStates
from scalegan.monitor.curves import Curve
from scalegan.monitor.reports import Reports
from scalegan.monitor.run import Run


@pytest.mark.parametrize("step", [1, 7, 100_000], ids=["point by point", "in short pieces", "at once"])
def test_a_thinned_curve_is_short_and_keeps_every_extreme(step: int) -> None:
    xs = list(range(0, 200_000, 10))
    ys = np.random.default_rng(0).normal(size=len(xs)).tolist()
    ys[777], ys[12_345] = 50.0, -70.0
    found = Curve()
    for i in range(0, len(xs), step):
        found.extend(xs[i:i + step], ys[i:i + step])
    short, values = found.thinned()
    assert len(short) < 310 and short == sorted(short)
    assert set(zip(short, values)) <= set(zip(xs, ys))
    assert {(7770, 50.0), (123_450, -70.0), (xs[-1], ys[-1])} <= set(zip(short, values))
    assert max(b - a for a, b in itertools.pairwise(short)) < 4 * 200_000 / 150     # no part of it is left out


def test_short_and_disordered_curves_stay_whole() -> None:
    found = Curve()
    found.extend([5, 1], [50.0, 10.0])
    found.extend([3], [30.0])
    assert found.thinned() == ([1, 3, 5], [10.0, 30.0, 50.0])


def lines(*rows: dict) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_only_new_lines_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "metrics.jsonl"
    found = Reports(path)
    found.refresh()
    assert found.curves == {}
    parsed: list[bytes] = []
    add = found._add
    monkeypatch.setattr(found, "_add", lambda new: (parsed.extend(new), add(new)))
    path.write_text(lines({"images": 1, "loss": 1.0}) + '{"images": 2, "lo')
    found.refresh()
    found.refresh()
    with path.open("a") as file:
        file.write('ss": 2.0}\n' + lines({"images": 3, "loss": 3.0}))
    found.refresh()
    assert found.curves["loss"].thinned() == ([1, 2, 3], [1.0, 2.0, 3.0]) and len(parsed) == 3


def test_a_run_that_went_back_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(lines(*({"images": n, "loss": 9.0} for n in range(10))))
    found = Reports(path)
    found.refresh()
    (tmp_path / "new").write_text(lines(*({"images": n, "loss": 1.0} for n in range(20))))
    os.replace(tmp_path / "new", path)
    found.refresh()
    assert found.curves["loss"].thinned()[1] == [1.0] * 20
    path.unlink()
    found.refresh()
    assert found.curves == {}


def test_lines_longer_than_any_report_do_not_fill_memory(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with path.open("wb") as file:
        file.write(b"x" * (11 << 20) + b"\n" + lines({"images": 1, "loss": 1.0}).encode() + b"y" * (6 << 20))
    found = Reports(path)
    found.refresh()
    assert found.curves["loss"].thinned() == ([1], [1.0])


def test_events(tmp_path: Path) -> None:
    """Of reports, checkpoints, ranks and jobs; what is damaged is left out."""
    rows = [{"images": 100, "skipped/D": 0}, {"images": 200, "skipped/D": 3}, {"images": 300, "skipped/D": 3,
            "loss": float("nan")}, {"images": 400, "skipped/D": 4, "overflows/G": 1}]
    run = make_run(tmp_path / "run", 1e-3, rows)
    (run / "rollbacks.json").write_text('[{"from": 350, "to": 250, "attempt": 1}]')
    (run / "checkpoints" / "000000000100.damaged-00ff00").mkdir(parents=True)
    (run / "config.150.yaml").write_text("seed: 1\n")
    (run / "last_phase").mkdir()
    (run / "last_phase" / "0.json").write_text(
        '{"reason": "rank 1 is dead", "images": 120, "time": "2026-01-01T00:00:00+0000"}')
    (run / "last_phase" / "1.json").write_text('{"reason": 3}')
    (run / "job").mkdir()
    (run / "job" / "history.jsonl").write_text(
        '{"event": "failed", "job": "7", "restart": 0, "time": NaN, "why": "CUDA"}\n'
        '{"event": "{odd}", "job": "7", "restart": 0, "time": 5}\n{"event": "started", "jo')
    found = [(event["images"], event["bad"], event["what"]) for event in Run(run, "run").details()["events"]]
    assert found == [
        (None, 2, "job 7 failed: CUDA"),
        (100, 2, "checkpoint set aside, as it is damaged: 000000000100.damaged-00ff00"),
        (150, 0, "resumed with a changed recipe: config.150.yaml"),
        (200, 1, "3 updates of D skipped: a loss or gradient was not finite"),
        (300, 1, "loss was not finite for the first time"),
        (350, 2, "rolled back to 250 images; attempt 1 goes on from there"),
        (400, 1, "1 update of D skipped: a loss or gradient was not finite"),
        (400, 0, "1 update of G repeated with a smaller loss scale, as is usual in fp16"),
        (None, 0, "job 7 {odd}"), (120, 2, "rank 0 stopped: rank 1 is dead")]
    row = Run(run, "run").row(JobStates())
    assert (row["images"], row["total"], row["skipped"], row["rollbacks"]) == (400, None, 4, 1)


def test_links_that_lead_out_of_the_run_are_not_followed(tmp_path: Path) -> None:
    other = make_run(tmp_path / "other", 1e-3, curve(loss=1.0))
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text("seed: 0\n")
    for name in ("samples", "metrics.jsonl", "evaluations.jsonl", "config.100.yaml"):
        (run / name).symlink_to(other / name)
    found = Run(run, "run")
    assert found.details()["curves"] == {} and found.pictures == [] and found.picture(1000) is None
    assert found.recipe == {"seed": 0} and found.evaluations == []
