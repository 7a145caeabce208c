"""Scores of hand-made samples, and of the data itself."""

import math

import pytest
import torch

from scalegan.data.reading.points import SETS
from scalegan.study.scores import MODES, score
from scalegan.study.training import SAMPLES, SeedDraws


def around(data: str, counts: dict[int, int], offset: float = 0.0) -> torch.Tensor:
    """`counts[mode]` samples of each mode, all at `offset` from its centre."""
    centres = MODES[data][0]
    return torch.cat([centres[mode].repeat(count, 1) + torch.tensor([offset, 0.0]) for mode, count in counts.items()])


@pytest.mark.parametrize("data", MODES)
def test_the_data_covers_all_its_modes(data: str) -> None:
    """Centres and deviations match the data; a share 1 - exp(-9/2) of a 2-D Gaussian lies within 3 sigma."""
    found = score(SETS[data](SeedDraws(0, "test", SAMPLES)), *MODES[data])
    assert found["modes_covered"] == len(MODES[data][0])
    assert found["high_quality"] == pytest.approx(1 - math.exp(-4.5), abs=0.006)
    assert 0 <= found["reverse_kl"] < 0.02


def test_contract_of_the_mixtures() -> None:
    centres, sigma = MODES["ring8"]
    assert (len(centres), sigma) == (8, 0.02)
    assert torch.allclose(centres.norm(dim=1), torch.full((8,), 2.0, dtype=torch.float64))
    centres, sigma = MODES["grid25"]
    assert (len(centres), sigma) == (25, 0.05)
    assert torch.cdist(centres, centres).fill_diagonal_(9).min() == 2


def test_a_mode_needs_20_samples() -> None:
    assert score(around("ring8", {0: 20, 3: 19, 5: 500}), *MODES["ring8"])["modes_covered"] == 2


@pytest.mark.parametrize("offset, good", [(0.0599, 1.0), (0.0601, 0.0)])
def test_high_quality_ends_at_three_sigma(offset: float, good: float) -> None:
    found = score(around("ring8", {0: 30}, offset), *MODES["ring8"])
    assert (found["high_quality"], found["modes_covered"]) == (good, int(good))


def test_reverse_kl_by_hand() -> None:
    """Three quarters in one mode and a quarter in another of eight: 3/4 ln(6) + 1/4 ln(2)."""
    found = score(around("ring8", {0: 75, 1: 25}), *MODES["ring8"])
    assert found["reverse_kl"] == pytest.approx(0.75 * math.log(6) + 0.25 * math.log(2))
    assert score(around("ring8", {0: 9}), *MODES["ring8"])["reverse_kl"] == pytest.approx(math.log(8))


def test_samples_that_are_not_finite_have_no_quality() -> None:
    found = score(torch.tensor([[math.nan, 0.0], [math.inf, 1.0]]).repeat(10, 1), *MODES["ring8"])
    assert (found["modes_covered"], found["high_quality"]) == (0, 0.0)
