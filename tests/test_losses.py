"""Adversarial losses against values computed by hand."""

import math

import pytest
import torch

from scalegan.losses import LOSSES, energy_based, least_squares, smoothed

# Logits are logarithms, so that the sigmoids are fractions: s(ln 3) = 3/4, s(0) = 1/2, s(-ln 3) = 1/4.
LN2, LN3, LN4 = math.log(2), math.log(3), math.log(4)
REAL, FAKE = [LN3, 0.0], [-LN3, LN3]

# name: D's terms, G's terms, for REAL and FAKE.
BY_HAND = {
    # D: -mean(ln 3/4, ln 1/2), -mean(ln(1 - 1/4), ln(1 - 3/4)).  G: -mean(ln 1/4, ln 3/4).
    "non_saturating": ({"real": (LN4 - LN3 + LN2) / 2, "fake": (LN4 - LN3 + LN4) / 2}, {"fake": (2 * LN4 - LN3) / 2}),
    # G: mean(ln(1 - 1/4), ln(1 - 3/4)).
    "minimax": ({"real": (LN4 - LN3 + LN2) / 2, "fake": (LN4 - LN3 + LN4) / 2}, {"fake": (LN3 - 2 * LN4) / 2}),
    # D: mean(max(0, 1 - ln 3) = 0, 1), mean(max(0, 1 - ln 3) = 0, 1 + ln 3).  G: 0.
    "hinge": ({"real": 0.5, "fake": (1 + LN3) / 2}, {"fake": 0.0}),
    # 1/2 mean (x - 1)^2 for reals, 1/2 mean x^2 for fakes; G drives fakes to 1.
    "least_squares": ({"real": ((LN3 - 1) ** 2 + 1) / 4, "fake": LN3**2 / 2},
                      {"fake": ((LN3 + 1) ** 2 + (LN3 - 1) ** 2) / 4}),
    "wasserstein": ({"real": -LN3 / 2, "fake": 0.0}, {"fake": 0.0}),
    # fake - real = -2 ln 3 and ln 3: ln(1 + 1/9) and ln 4; G: ln(1 + 9) and ln(1 + 1/3).
    "relativistic": ({"pair": (math.log(10 / 9) + LN4) / 2}, {"pair": (math.log(10) + math.log(4 / 3)) / 2}),
    # Energies -ln 3, 0 for reals; ln 3, -ln 3 for fakes, the first above the margin of 1. G: mean energy.
    "ebgan": ({"real": -LN3 / 2, "fake": (1 + LN3) / 2}, {"fake": 0.0}),
    # f-GAN: -mean g(v) for reals, mean f*(g(v)) for fakes, and minus that for G. exp(v) is 3 and 1, 1/3 and 3.
    "f_kl": ({"real": -LN3 / 2, "fake": 5 / 3 / math.e}, {"fake": -5 / 3 / math.e}),
    "f_reverse_kl": ({"real": 2 / 3, "fake": -1.0}, {"fake": 1.0}),
    "f_js": ({"real": -LN2 + (LN4 - LN3 + LN2) / 2, "fake": (2 * LN4 - LN3) / 2 - LN2},
             {"fake": LN2 - (2 * LN4 - LN3) / 2}),
    "f_hellinger": ({"real": -1 / 3, "fake": 2 / 3}, {"fake": -2 / 3}),
    "f_pearson": ({"real": -LN3 / 2, "fake": LN3**2 / 4}, {"fake": -(LN3**2) / 4}),
    # b-GAN: D as f-GAN's; G: mean f(r), of r = exp(v - 1) and f = r ln r - r + 1, of r = 1 + v / 2 and f = (r - 1)^2.
    "b_kl": ({"real": -LN3 / 2, "fake": 5 / 3 / math.e},
             {"fake": 1 + ((-LN3 - 2) / 3 + (LN3 - 2) * 3) / 2 / math.e}),
    "b_pearson": ({"real": -LN3 / 2, "fake": LN3**2 / 4}, {"fake": LN3**2 / 4}),
}


@pytest.mark.parametrize("name", LOSSES)
def test_values_by_hand(name: str) -> None:
    real, fake = torch.tensor(REAL, dtype=torch.float64), torch.tensor(FAKE, dtype=torch.float64)
    expected_d, expected_g = BY_HAND[name]
    found_d, found_g = LOSSES[name].discriminator(real, fake), LOSSES[name].generator(fake, real)
    assert {k: v.item() for k, v in found_d.items()} == pytest.approx(expected_d, abs=1e-12)
    assert {k: v.item() for k, v in found_g.items()} == pytest.approx(expected_g, abs=1e-12)


# name: slopes of D's loss at REAL and at FAKE, and of G's at FAKE; the factors 1/2 come from the means. s(x) is the
# sigmoid.
SLOPES_BY_HAND = {
    # D: -(1 - s) and s.  G: -(1 - s).
    "non_saturating": ([-1 / 8, -1 / 4], [1 / 8, 3 / 8], [-3 / 8, -1 / 8]),
    # G: -s, which vanishes where D is certain.
    "minimax": ([-1 / 8, -1 / 4], [1 / 8, 3 / 8], [-1 / 8, -3 / 8]),
    # Zero beyond the hinges (ln 3 > 1).
    "hinge": ([0, -1 / 2], [0, 1 / 2], [-1 / 2, -1 / 2]),
    # x - b, x - a; x - c.
    "least_squares": ([(LN3 - 1) / 2, -1 / 2], [-LN3 / 2, LN3 / 2], [-(LN3 + 1) / 2, (LN3 - 1) / 2]),
    "wasserstein": ([-1 / 2, -1 / 2], [1 / 2, 1 / 2], [-1 / 2, -1 / 2]),
    # s(fake - real) with differences -2 ln 3 and ln 3; G: -s(real - fake).
    "relativistic": ([-1 / 20, -3 / 8], [1 / 20, 3 / 8], [-9 / 20, -1 / 8]),
    # The first fake's energy is above the margin.
    "ebgan": ([-1 / 2, -1 / 2], [0, 1 / 2], [-1 / 2, -1 / 2]),
    # -g' and (f* o g)'; G: minus the latter.
    "f_kl": ([-1 / 2, -1 / 2], [1 / 6 / math.e, 3 / 2 / math.e], [-1 / 6 / math.e, -3 / 2 / math.e]),
    "f_reverse_kl": ([-1 / 6, -1 / 2], [1 / 2, 1 / 2], [-1 / 2, -1 / 2]),
    "f_js": ([-1 / 8, -1 / 4], [1 / 8, 3 / 8], [-1 / 8, -3 / 8]),
    "f_hellinger": ([-1 / 6, -1 / 2], [1 / 6, 3 / 2], [-1 / 6, -3 / 2]),
    "f_pearson": ([-1 / 2, -1 / 2], [(2 - LN3) / 4, (2 + LN3) / 4], [(LN3 - 2) / 4, -(2 + LN3) / 4]),
    # G: f'(r) dr/dv / 2, which is (v - 1) exp(v - 1) / 2 and v / 4.
    "b_kl": ([-1 / 2, -1 / 2], [1 / 6 / math.e, 3 / 2 / math.e],
             [(-LN3 - 1) / 6 / math.e, (LN3 - 1) * 3 / 2 / math.e]),
    "b_pearson": ([-1 / 2, -1 / 2], [(2 - LN3) / 4, (2 + LN3) / 4], [-LN3 / 4, LN3 / 4]),
}


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_by_hand(name: str) -> None:
    real = torch.tensor(REAL, dtype=torch.float64, requires_grad=True)
    fake = torch.tensor(FAKE, dtype=torch.float64, requires_grad=True)
    of_d = torch.autograd.grad(sum(LOSSES[name].discriminator(real, fake).values()), (real, fake))
    of_g = torch.autograd.grad(sum(LOSSES[name].generator(fake, real.detach()).values()), fake)
    for found, expected in zip((*of_d, *of_g), SLOPES_BY_HAND[name]):
        assert found.tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_d_raises_reals_and_lowers_fakes_and_g_raises_fakes(name: str) -> None:
    real = torch.tensor([0.3, -0.4, 0.1], requires_grad=True)
    fake = torch.tensor([0.2, 0.1, 0.6], requires_grad=True)
    for_real, for_fake = torch.autograd.grad(sum(LOSSES[name].discriminator(real, fake).values()), (real, fake))
    assert (for_real < 0).all() and (for_fake > 0).all()
    if not name.startswith("b_"):       # ratio matching drives the ratio to 1, from either side
        by_g, = torch.autograd.grad(sum(LOSSES[name].generator(fake, real.detach()).values()), fake)
        assert (by_g < 0).all()


@pytest.mark.parametrize("name", LOSSES)
def test_only_the_relativistic_loss_needs_reals(name: str) -> None:
    assert LOSSES[name].needs_reals == (name == "relativistic")
    if not LOSSES[name].needs_reals:
        LOSSES[name].generator(torch.zeros(2), None)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("logit", [-200.0, 200.0])
def test_extreme_logits_stay_finite(name: str, logit: float) -> None:
    real, fake = torch.full((2,), logit), torch.full((2,), -logit)
    terms = [*LOSSES[name].discriminator(real, fake).values(), *LOSSES[name].generator(fake, real).values()]
    assert all(term.isfinite() for term in terms)


def test_only_minimax_saturates() -> None:
    """Where D is certain of a fake, minimax gives G almost no gradient (Goodfellow et al., 2014, section 3)."""
    fake = torch.tensor([-20.0], requires_grad=True)
    strong, = torch.autograd.grad(LOSSES["non_saturating"].generator(fake, None)["fake"], fake)
    weak, = torch.autograd.grad(LOSSES["minimax"].generator(fake, None)["fake"], fake)
    assert strong.item() == pytest.approx(-1, abs=1e-6)
    assert 0 > weak.item() > -1e-8


@pytest.mark.parametrize("target", [0.9, 0.7])
def test_smoothed_cross_entropy_changes_the_label_of_reals_alone(target: float) -> None:
    """-t log s(x) - (1 - t) log(1 - s(x)) for reals, with its minimum at s(x) = t; fakes and G are unchanged."""
    loss = smoothed(LOSSES["non_saturating"], target)
    real, fake = torch.tensor(REAL, dtype=torch.float64, requires_grad=True), torch.tensor(FAKE, dtype=torch.float64)
    found = loss.discriminator(real, fake)
    chance = torch.sigmoid(real)
    expected = -(target * chance.log() + (1 - target) * (1 - chance).log()).mean()
    assert found["real"].item() == pytest.approx(expected.item())
    assert found["fake"] == LOSSES["non_saturating"].discriminator(real, fake)["fake"]
    assert loss.generator is LOSSES["non_saturating"].generator
    at_target = torch.logit(torch.tensor([target], dtype=torch.float64)).requires_grad_()
    slope, = torch.autograd.grad(loss.discriminator(at_target, fake)["real"], at_target)
    assert abs(slope.item()) < 1e-12


def test_smoothed_least_squares_drives_reals_to_the_target() -> None:
    real = torch.tensor([0.9], requires_grad=True)
    slope, = torch.autograd.grad(smoothed(least_squares(), 0.9).discriminator(real, torch.zeros(1))["real"], real)
    assert abs(slope.item()) < 1e-6


def test_smoothed_pairs_and_no_smoothing() -> None:
    """A pair is labelled correctly with probability t: at 1/2, D has nothing to learn."""
    real, fake = torch.tensor([0.3]), torch.tensor([-0.2])
    either = smoothed(LOSSES["relativistic"], 0.5)
    assert either.discriminator(real, fake)["pair"] == either.discriminator(fake, real)["pair"]
    for name, loss in LOSSES.items():
        assert smoothed(loss, 1.0).discriminator(real, fake) == loss.discriminator(real, fake), name


def test_energy_above_the_margin_is_left_alone() -> None:
    """Zhao et al. (2017), eq. 1: fakes whose energy exceeds m give D no gradient."""
    fake = torch.tensor([-0.5, -1.5, -3.0], requires_grad=True)  # energies 0.5, 1.5, 3
    slopes, = torch.autograd.grad(energy_based(2.0).discriminator(torch.zeros(3), fake)["fake"], fake)
    assert slopes.tolist() == pytest.approx([1 / 3, 1 / 3, 0.0])


def test_least_squares_targets() -> None:
    """Mao et al. (2017), eq. 8: a = -1, b = 1, c = 0 minimises Pearson's chi-squared."""
    loss = least_squares(-1, 1, 0)
    assert loss.discriminator(torch.tensor([1.0]), torch.tensor([-1.0])) == {"real": 0, "fake": 0}
    assert loss.generator(torch.tensor([2.0]), None)["fake"] == 2
