"""Running means of figures: exact, whatever comes together, and across a save; and the time that reports state."""

import json
import time
from pathlib import Path

import torch

from scalegan.config import loading
from scalegan.training.run_log import Means, RunLog

UPDATES = [{"a": 0.1, "b": 3.0}, {"c": 7.0}, {"a": 0.2, "b": float("nan")}, {"b": 1.0, "c": 0.3}, {"a": 1e-9, "b": 2.0},
           {"c": float("inf"), "d": 1.0}, {"a": 0.7, "b": 0.1}]


def add(means: Means, updates: list[dict[str, float]]) -> Means:
    for figures in updates:
        means.add({name: torch.tensor(value) for name, value in figures.items()})
    return means


def test_means_leave_out_what_is_not_finite_and_begin_anew_with_each_report() -> None:
    means = add(Means(), UPDATES)
    found = means.report()
    single = {name: [float(torch.tensor(u[name]).double()) for u in UPDATES if name in u] for name in "abcd"}
    finite = {name: [value for value in values if abs(value) < 1e30] for name, values in single.items()}
    assert list(found) == ["a", "b", "c", "d"]
    assert found == {name: sum(values) / len(values) for name, values in finite.items()}
    assert means.report() == {}


def test_a_save_at_any_update_changes_neither_sums_nor_their_order() -> None:
    expected = json.dumps(add(Means(), UPDATES).state())
    for cut in range(len(UPDATES)):
        before, after = add(Means(), UPDATES[:cut]), Means()
        after.restore(json.loads(json.dumps(before.state())), torch.device("cpu"))
        assert json.dumps(add(after, UPDATES[cut:]).state()) == expected


def test_after_a_rollback_reports_state_the_time_from_which_it_goes_on(tmp_path: Path) -> None:
    """As checkpoints do; otherwise the reports of a run that is resumed after a rollback go back in time."""
    recipe = loading.parse({"run_dir": "-", "total_images": 10, "data": {"path": "-", "resolution": 16},
                            "log": {"tensorboard": False}, "optimizer": {"default": {}}}, "test")
    log = RunLog(tmp_path, 0, time.monotonic() - 500, recipe, {})
    log.report(1, {}, {}, {})
    log.rewind(1, time.monotonic() - 100)
    log.report(2, {}, {}, {})
    log.close()
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [round(row["seconds"], -1) for row in rows] == [500, 100]
