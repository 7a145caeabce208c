"""The distributions that an adversarial autoencoder's codes follow."""

import math

import pytest
import torch

from scalegan.games.aae.priors import Prior
from scalegan.randomness import Draws

DRAWS = Draws(0, 0, "prior", torch.arange(20_000))


@pytest.mark.parametrize("scale", [1.0, 5.0])
def test_the_gaussian_prior(scale: float) -> None:
    z = Prior("gaussian", 3, scale)(DRAWS) / scale
    torch.testing.assert_close(torch.cov(z.T), torch.eye(3), atol=0.03, rtol=0)
    assert z.mean(0).abs().max() < 0.03


@pytest.mark.parametrize("components, scale", [(10, 1.0), (3, 2.0)])
def test_the_mixture_has_equally_many_samples_in_each_petal(components: int, scale: float) -> None:
    z = Prior("mixture", 2, scale, components)(DRAWS) / scale
    angles = torch.arange(components) * 2 * math.pi / components
    axes = torch.stack([angles.cos(), angles.sin()])
    along = (z @ axes).max(1)
    counts = along.indices.bincount(minlength=components) / len(z)
    torch.testing.assert_close(counts, torch.full((components,), 1 / components), atol=0.02, rtol=0)
    assert along.values.mean().item() == pytest.approx(1.4, abs=0.02)       # where the petals' centres are
    assert along.values.std().item() == pytest.approx(0.5, abs=0.03)
    assert z.mean(0).abs().max() < 0.03


def test_the_swiss_roll_is_a_spiral_of_two_turns() -> None:
    z = Prior("swiss_roll", 2)(DRAWS)
    radius, angle = z.norm(dim=1), torch.atan2(z[:, 1], z[:, 0])
    turns = radius * 2 / 3 - angle / (2 * math.pi)      # a whole number: the radius grows by 1.5 a turn
    torch.testing.assert_close(turns, turns.round(), atol=1e-4, rtol=0)
    assert radius.max() < 3 and set(turns.round().int().tolist()) == {0, 1, 2}
