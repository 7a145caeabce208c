"""The papers' theorems in one dimension: the optimal D for a fixed G, and the value of the game there.

Data and fakes are Gaussian, so that ln p/q is a parabola: a D that is one can reach the optimum, if the
loss leads there.
"""

import functools
import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from scalegan.losses import LOSSES, AdversarialLoss, least_squares

GRID = torch.linspace(-9, 9, 3601, dtype=torch.float64)
DATA, FAKES = Normal(0.0, 1.0), Normal(1.0, 1.5)
P, Q = (d.log_prob(GRID).exp() for d in (DATA, FAKES))
WITHIN = GRID.abs() < 3
QUANTILES = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
REALS, FAKE_SAMPLES = DATA.icdf(QUANTILES), FAKES.icdf(QUANTILES)


def integral(values: Tensor) -> float:
    return (values.sum() * (GRID[1] - GRID[0])).item()


def jsd() -> float:
    mean = (P + Q) / 2
    return (integral(P * (P / mean).log()) + integral(Q * (Q / mean).log())) / 2


def parabola(x: Tensor, weights: Tensor) -> Tensor:
    return weights[0] + weights[1] * x + weights[2] * x * x


@functools.cache
def trained(loss: AdversarialLoss, shape=parabola) -> Tensor:
    """Weights of D, trained to convergence with `loss` on the quantiles of both distributions."""
    weights = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=100, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        total = sum(loss.discriminator(shape(REALS, weights), shape(FAKE_SAMPLES, weights)).values())
        total.backward()
        return total

    optimizer.step(closure)
    return weights.detach()


def test_d_approaches_p_over_p_plus_q_and_the_value_2_jsd_minus_log_4() -> None:
    """Goodfellow et al. (2014), proposition 1 and theorem 1."""
    weights, loss = trained(LOSSES["minimax"]), LOSSES["minimax"]
    found = torch.sigmoid(parabola(GRID, weights))
    assert (found - P / (P + Q))[WITHIN].abs().max() < 0.01
    value = -sum(loss.discriminator(parabola(REALS, weights), parabola(FAKE_SAMPLES, weights)).values()).item()
    assert value == pytest.approx(2 * jsd() - math.log(4), abs=2e-3)


def test_saturating_g_minimises_the_divergence() -> None:
    """At the optimal D, the value is the sum of D's term for reals, which G cannot change, and G's loss."""
    weights, loss = trained(LOSSES["minimax"]), LOSSES["minimax"]
    fake = parabola(FAKE_SAMPLES, weights)
    of_data = -loss.discriminator(parabola(REALS, weights), fake)["real"].item()
    of_g = loss.generator(fake, None)["fake"].item()
    assert of_data + of_g == pytest.approx(2 * jsd() - math.log(4), abs=2e-3)


def test_least_squares_is_pearsons_chi_squared() -> None:
    """Mao et al. (2017), eq. 5 to 8: a = -1, b = 1, c = 0, so that b - c = 1 and b - a = 2.

    The best D is (b p + a q) / (p + q), which for Gaussians is tanh of half the log ratio; and the mean of (D - c)^2
    over reals and fakes, of which G's loss is half the fakes' part, is chi^2(p + q || 2 q).
    """
    def squashed(x: Tensor, weights: Tensor) -> Tensor:
        return torch.tanh(parabola(x, weights) / 2)

    weights = trained(least_squares(-1, 1, 0), squashed)
    assert (squashed(GRID, weights) - (P - Q) / (P + Q))[WITHIN].abs().max() < 0.02
    g = least_squares(-1, 1, 0).generator
    both = 2 * (g(squashed(REALS, weights), None)["fake"] + g(squashed(FAKE_SAMPLES, weights), None)["fake"])
    assert both.item() == pytest.approx(integral((P - Q).square() / (P + Q)), abs=2e-3)


def test_wasserstein_value_of_two_translates_is_their_shift() -> None:
    """Arjovsky et al. (2017), eq. 2: the optimal critic of slope 1 is then linear."""
    assert -sum(LOSSES["wasserstein"].discriminator(-REALS, -(REALS + 3)).values()).item() == pytest.approx(3)
