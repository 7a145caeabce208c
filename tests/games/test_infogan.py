"""InfoGAN: the bounds of its mutual information."""

import math

import pytest
import torch

from scalegan.games.infogan.codes import Codes, Reader
from scalegan.randomness import Draws

DRAWS = Draws(0, 0, "D", torch.arange(20_000))


def bound(codes: Codes, read: torch.Tensor, fixed_deviation: bool = False) -> float:
    """L_I of what Q reads, in nats."""
    reader = Reader(1, 1, codes.categories, codes.continuous, fixed_deviation=fixed_deviation)
    return codes.entropy - sum(reader.surprise(read, *codes.of(codes(DRAWS))).values()).item()


def test_a_category_of_ten_values_has_between_no_information_and_2_30_nats() -> None:
    """Figure 1 of the paper: L_I reaches H(c) = ln 10."""
    codes = Codes(1, [10], 0)
    certain = 100.0 * codes(DRAWS)[:, 1:]
    assert bound(codes, certain) == pytest.approx(2.3026, abs=1e-4)
    assert bound(codes, 0 * certain) == pytest.approx(0, abs=1e-4)
    assert bound(codes, certain.roll(1, 0)) < -50       # certain, and wrong


@pytest.mark.parametrize("log_deviation, fixed, ceiling", [
    (0.0, True, math.log(2) - math.log(2 * math.pi) / 2),
    (-4.0, True, math.log(2) - math.log(2 * math.pi) / 2),
    (-4.0, False, math.log(2) - math.log(2 * math.pi) / 2 + 4)],
    ids=["deviation 1", "fixed, whatever Q says", "learnt: no limit"])
def test_the_ceiling_of_a_continuous_code(log_deviation: float, fixed: bool, ceiling: float) -> None:
    """Read exactly: H(U(-1, 1)) = ln 2 minus the Gaussian's -log density at its mean."""
    codes = Codes(1, [], 1)
    exact = torch.cat([codes(DRAWS)[:, 1:], torch.full((len(DRAWS), 1), log_deviation)], 1)
    assert bound(codes, exact, fixed) == pytest.approx(ceiling, abs=1e-4)


def test_a_blind_q_of_the_right_width_knows_nothing_of_a_continuous_code() -> None:
    """Mean 0 and the code's own variance, 1/3: less than nothing, as a Gaussian is not uniform."""
    codes = Codes(1, [], 1)
    blind = torch.tensor([[0.0, -math.log(3) / 2]]).expand(len(DRAWS), 2)
    assert bound(codes, blind) == pytest.approx(math.log(2) - math.log(2 * math.pi / 3) / 2 - 0.5, abs=0.01)
