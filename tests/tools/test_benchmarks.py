"""Benchmarks run: nothing else would notice when the code that they measure changes under them."""

import pytest

from scalegan.training import environment
from tools.benchmarks import step


@pytest.mark.parametrize("deterministic", [True, False])
def test_a_step_is_timed_with_the_kernels_that_train(deterministic: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(environment, "prepare", lambda device, chosen: asked.append(chosen))
    step.one_update(step._parse({"model": {"name": "dcgan", "width": 2, "norm_group": step._BATCH},
                                 "engine": {"deterministic": deterministic}}))
    assert asked == [deterministic]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["trainer_vs_bare_loop", "dcgan64_vs_examples", "dcgan_fraction_of_peak"])
def test_a_round_of_a_benchmark(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "alternate", lambda ours, reference, rounds=1: (ours(), reference()))
    result = step.BENCHMARKS[name]()
    assert result.name == name and result.value > 0 and result.reference_value > 0
