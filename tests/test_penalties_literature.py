"""WGAN-GP's penalty, the pull-away term and feature matching against closed forms, including gradients."""

import math

import pytest
import torch

from scalegan.penalties import between, feature_matching, gradient_penalty, pull_away


def test_gradient_penalty_of_a_linear_critic() -> None:
    """D(x) = <w, x>: lambda (|w| - 1)^2; d/dw = 2 lambda (|w| - 1) w / |w|."""
    w = torch.tensor([3.0, -4.0, 12.0], dtype=torch.float64, requires_grad=True)
    x = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    penalty = gradient_penalty(x @ w, x, 10.0)
    assert penalty.item() == pytest.approx(10 * 12**2)
    assert torch.autograd.grad(penalty, w)[0].tolist() == pytest.approx([2 * 10 * 12 * c / 13 for c in (3, -4, 12)])


def test_gradient_penalty_is_a_mean_over_samples_of_their_own_norms() -> None:
    """D(x) = x^2 / 2 at 3 and -0.5: lambda ((3 - 1)^2 + (0.5 - 1)^2) / 2."""
    x = torch.tensor([[3.0], [-0.5]], dtype=torch.float64, requires_grad=True)
    assert gradient_penalty(x.square().sum(1) / 2, x, 2.0).item() == pytest.approx(4 + 0.25)


def test_gradient_penalty_where_the_slope_vanishes() -> None:
    """A critic with zero slope costs lambda, and its gradient is finite."""
    a = torch.zeros((), requires_grad=True)
    x = torch.ones(4, 2, requires_grad=True)
    penalty = gradient_penalty(a * x.sum(1), x, 10.0)
    slope, = torch.autograd.grad(penalty, a)
    assert penalty.item() == pytest.approx(10)
    assert slope.isfinite()


def test_points_between_lie_on_the_lines() -> None:
    reals, fakes = torch.randn(3, 2, 4, 4), torch.randn(3, 2, 4, 4)
    points = between(reals, fakes, torch.tensor([0.0, 1.0, 0.25]))
    assert torch.equal(points[0], fakes[0])
    assert torch.allclose(points[1], reals[1])
    assert torch.allclose(points[2], 0.25 * reals[2] + 0.75 * fakes[2])
    assert points.requires_grad and points.is_leaf


def test_pull_away_by_hand() -> None:
    """Three encodings at 0, 60 and 90 degrees, of any length: cosines 1/2, 0, sqrt(3)/2 over six ordered pairs."""
    angles = torch.tensor([0.0, math.pi / 3, math.pi / 2], dtype=torch.float64)
    lengths = torch.tensor([1.0, 5.0, 0.3], dtype=torch.float64)
    s = torch.stack([angles.cos(), angles.sin()], 1) * lengths[:, None]
    assert pull_away(s, 3).item() == pytest.approx(2 * (1 / 4 + 0 + 3 / 4) / 6)


def test_pull_away_is_the_mean_over_groups() -> None:
    s = torch.randn(12, 7, dtype=torch.float64)
    apart = [pull_away(part, 4).item() for part in s.split(4)]
    assert pull_away(s, 4).item() == pytest.approx(sum(apart) / 3)
    assert pull_away(s, 12).item() != pytest.approx(sum(apart) / 3)


def test_pull_away_pulls_away() -> None:
    """f = cos^2 of the angle t between two encodings: df/dt = -sin 2t, seen in the components of the second."""
    t = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    s = torch.stack([torch.tensor([1.0, 0.0], dtype=torch.float64), torch.stack([t.cos(), t.sin()])])
    slope, = torch.autograd.grad(pull_away(s, 2), t)
    assert slope.item() == pytest.approx(-math.sin(1.0))


def test_feature_matching_by_hand() -> None:
    """Means (2, 0) of reals and (1, 4) of fakes: ((2 - 1)^2 + (0 - 4)^2) / 2 features; slopes 2 (1 - 2) / 2 / 2."""
    reals = torch.tensor([[1.0, -1.0], [3.0, 1.0]], dtype=torch.float64)
    fakes = torch.tensor([[0.0, 4.0], [2.0, 4.0]], dtype=torch.float64, requires_grad=True)
    loss = feature_matching(fakes, reals, 2)
    assert loss.item() == pytest.approx(17 / 2)
    slope, = torch.autograd.grad(loss, fakes)
    assert slope.tolist() == [[-0.5, 2.0], [-0.5, 2.0]]


def test_feature_matching_is_the_mean_over_groups() -> None:
    reals, fakes = torch.randn(8, 3), torch.randn(8, 3)
    halves = [feature_matching(f, r, 4).item() for f, r in zip(fakes.split(4), reals.split(4))]
    assert feature_matching(fakes, reals, 4).item() == pytest.approx(sum(halves) / 2)
