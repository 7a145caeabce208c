"""f-GAN's divergences against closed forms on three outcomes, and their conjugates against their definition."""

import math

import pytest
import torch
from torch import Tensor

from scalegan.divergences import DIVERGENCES
from scalegan.losses import LOSSES

P, Q = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64), torch.tensor([0.2, 0.2, 0.6], dtype=torch.float64)


def kl(p: Tensor, q: Tensor) -> float:
    return (p * (p / q).log()).sum().item()


CLOSED_FORMS = {
    "kl": kl(P, Q),
    "reverse_kl": kl(Q, P),
    "js": kl(P, (P + Q) / 2) + kl(Q, (P + Q) / 2),
    "hellinger": (P.sqrt() - Q.sqrt()).square().sum().item(),
    "pearson": ((P - Q).square() / Q).sum().item(),
}

# Tables 2 and 6 of the paper: f'(u), f*(t), and the upper end of f*'s domain.
BY_HAND = {
    "kl": (lambda u: 1 + u.log(), lambda t: (t - 1).exp(), math.inf),
    "reverse_kl": (lambda u: -1 / u, lambda t: -1 - (-t).log(), 0.0),
    "js": (lambda u: (2 * u / (1 + u)).log(), lambda t: -(2 - t.exp()).log(), math.log(2)),
    "hellinger": (lambda u: 1 - 1 / u.sqrt(), lambda t: t / (1 - t), 1.0),
    "pearson": (lambda u: 2 * (u - 1), lambda t: t * t / 4 + t, math.inf),
}
EVERY = pytest.mark.parametrize("name", DIVERGENCES)


def bound(name: str, v: Tensor) -> Tensor:
    """E_P g(v) - E_Q f*(g(v)) for one logit per outcome."""
    divergence = DIVERGENCES[name]
    return (P * divergence.activation(v)).sum() - (Q * divergence.conjugate(v)).sum()


@EVERY
def test_generates_its_divergence(name: str) -> None:
    assert (Q * DIVERGENCES[name].f(P / Q)).sum().item() == pytest.approx(CLOSED_FORMS[name], rel=1e-12)
    assert DIVERGENCES[name].f(torch.ones((), dtype=torch.float64)).item() == 0


@EVERY
def test_bound_is_tight_and_flat_at_the_optimum_and_below_elsewhere(name: str) -> None:
    best = DIVERGENCES[name].optimum(P / Q).requires_grad_()
    value = bound(name, best)
    assert value.item() == pytest.approx(CLOSED_FORMS[name], rel=1e-12)
    slope, = torch.autograd.grad(value, best)
    assert slope.abs().max() < 1e-12
    for shift in (-0.5, 0.1, 0.7):
        assert bound(name, best.detach() + shift) < value


@EVERY
def test_activation_and_conjugate_are_those_of_the_paper(name: str) -> None:
    slope_of_f, conjugate, end = BY_HAND[name]
    v = torch.linspace(-3, 3, 13, dtype=torch.float64)
    t = DIVERGENCES[name].activation(v)
    assert (t.diff() > 0).all() and (t < end).all()
    assert torch.allclose(DIVERGENCES[name].conjugate(v), conjugate(t), rtol=1e-12, atol=1e-12)
    u = torch.linspace(0.2, 4, 9, dtype=torch.float64)
    assert torch.allclose(DIVERGENCES[name].activation(DIVERGENCES[name].optimum(u)), slope_of_f(u))
    # Fenchel: f*(t) = sup_u (u t - f(u)), attained where f'(u) = t.
    assert torch.allclose(conjugate(slope_of_f(u)), u * slope_of_f(u) - DIVERGENCES[name].f(u))


@EVERY
def test_the_conjugates_slope_is_the_ratio(name: str) -> None:
    """(f*)'(f'(u)) = u, through the activation: d f*(g(v)) / d g(v) is the ratio p / q that the logit v stands for."""
    u = torch.linspace(0.2, 4, 9, dtype=torch.float64)
    v = DIVERGENCES[name].optimum(u).requires_grad_()
    of_conjugate, = torch.autograd.grad(DIVERGENCES[name].conjugate(v).sum(), v)
    of_activation, = torch.autograd.grad(DIVERGENCES[name].activation(v).sum(), v)
    assert torch.allclose(of_conjugate, u * of_activation, rtol=1e-12)
    inner = torch.linspace(-3, 3, 13, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(DIVERGENCES[name].conjugate, inner)
    assert torch.autograd.gradcheck(DIVERGENCES[name].activation, inner)


@EVERY
def test_training_the_bound_finds_the_divergence(name: str) -> None:
    """D is trained with the loss itself, on samples in the proportions of P and Q; G then gets f's derivative."""
    v, loss = torch.zeros(3, dtype=torch.float64, requires_grad=True), LOSSES[f"f_{name}"]
    reals, fakes = torch.tensor([0] * 5 + [1] * 3 + [2] * 2), torch.tensor([0] * 2 + [1] * 2 + [2] * 6)
    optimizer = torch.optim.LBFGS([v], max_iter=200, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        total = sum(loss.discriminator(v[reals], v[fakes]).values())
        total.backward()
        return total

    assert -optimizer.step(closure).item() < CLOSED_FORMS[name]
    assert -closure().item() == pytest.approx(CLOSED_FORMS[name], rel=1e-6)
    # With D optimal, raising Q's share of outcome i lowers G's loss at the rate f*(g(v_i)) = u f'(u) - f(u).
    ratio = P / Q
    expected = ratio * BY_HAND[name][0](ratio) - DIVERGENCES[name].f(ratio)
    assert torch.allclose(DIVERGENCES[name].conjugate(v.detach()), expected, atol=1e-4)


@pytest.mark.parametrize("name", ["kl", "pearson"])
def test_ratio_matching_finds_the_ratio_and_its_divergence(name: str) -> None:
    """Mohamed & Lakshminarayanan (2016), eq. 19 and 23: D's loss is the Bregman divergence of r from p / q, up to the
    constant -D_f, and G's is the divergence itself once r is p / q."""
    divergence, slope_of_f = DIVERGENCES[name], BY_HAND[name][0]
    reals, fakes = torch.tensor([0] * 5 + [1] * 3 + [2] * 2), torch.tensor([0] * 2 + [1] * 2 + [2] * 6)

    def losses(ratio: Tensor) -> tuple[float, float]:
        v = divergence.optimum(ratio)
        of_d = sum(LOSSES[f"b_{name}"].discriminator(v[reals], v[fakes]).values())
        return of_d.item(), LOSSES[f"b_{name}"].generator(v[fakes], None)["fake"].item()

    for ratio in (P / Q, torch.tensor([0.4, 1.0, 3.0], dtype=torch.float64)):
        bregman = Q * (divergence.f(P / Q) - divergence.f(ratio) - slope_of_f(ratio) * (P / Q - ratio))
        assert losses(ratio)[0] == pytest.approx(bregman.sum().item() - CLOSED_FORMS[name], abs=1e-12)
    assert losses(P / Q)[1] == pytest.approx(CLOSED_FORMS[name], rel=1e-12)


@pytest.mark.parametrize("name", ["kl", "pearson"])
def test_ratio_matchings_generator_wants_a_ratio_of_one(name: str) -> None:
    ratio = torch.tensor([0.5, 0.9, 1.0, 1.1, 2.0], dtype=torch.float64)
    v = DIVERGENCES[name].optimum(ratio).requires_grad_()
    value = LOSSES[f"b_{name}"].generator(v, None)["fake"]
    slope, = torch.autograd.grad(value, v)
    assert slope.sign().tolist() == [-1, -1, 0, 1, 1]
