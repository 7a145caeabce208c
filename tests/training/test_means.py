"""Running means of figures: exact, whatever comes together, and across a save."""

import json

import torch

from scalegan.training.run_log import Means

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
