"""What an iteration starts on a GPU, by count: a change that brings hundreds of small operations back is seen here."""

import pytest

from tools.benchmarks import launches


@pytest.mark.slow
@pytest.mark.parametrize("name, bound", [("stylegan2_256", 3500), ("r3gan_256", 2600), ("dcgan_64", 320)])
def test_an_iteration_launches_few_kernels(name: str, bound: int) -> None:
    result = launches.BENCHMARKS[name]()
    assert 100 < result.value < bound
    assert result.ratio > 1.5


@pytest.mark.slow
def test_a_draw_is_one_launch() -> None:
    key, _ = launches._RECIPES["stylegan2_256"]
    by_phase = {phase.name: counts for phase, counts in launches.of_phases(launches.recipe_of(key))}
    assert by_phase["G"]["philox"] == by_phase["D"]["philox"] == 5      # z, z2, cutoff, mix, and all noise planes
