"""Tricks and their gradients against values worked out by hand."""

import math
from pathlib import Path

import pytest
import torch
from harness import launch
from test_objectives import POINTS
from torch import Tensor, nn

from scalegan.augment import Augment
from scalegan.augment.instance_noise import InstanceNoise
from scalegan.checkpoints import store
from scalegan.config import Schedule
from scalegan.games.adaptive_updates import AdaptiveUpdates
from scalegan.games.base import Batch, Phase
from scalegan.games.gan.game import GAN
from scalegan.games.penalties.historical_averaging import HistoricalAveraging
from scalegan.games.unrolled.game import Unrolled
from scalegan.losses import LOSSES
from scalegan.models import dcgan, mlp
from scalegan.models.layers.minibatch_discrimination import MinibatchDiscrimination, closeness
from scalegan.models.layers.virtual_batchnorm import VirtualBatchNorm
from scalegan.randomness import Draws

DRAWS = Draws(0, 0, "test", torch.arange(8))


def batch(count: int = 8, images: int = 0) -> Batch:
    return Batch.of(torch.randn(count, 2, generator=torch.Generator().manual_seed(0)),
                    Draws(0, 0, "test", torch.arange(count)), images=images)


class Linear(nn.Module):
    """(z, labels) or (x, labels) -> w . x."""

    latent_dim, latent = 1, "normal"

    def __init__(self, *weights: float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(weights, dtype=torch.float64))

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return x.double() @ self.w


class Shift(Linear):
    """z -> (w, 0): all fakes are one point."""

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        return torch.cat([self.w, torch.zeros_like(self.w)]).expand(len(z), 2)


def test_closeness_by_hand() -> None:
    """M of three samples, two kernels of two dimensions; the third sample is in another group."""
    m = torch.tensor([[[0.0, 0.0], [1.0, 1.0]], [[1.0, 0.5], [1.0, 1.0]],
                      [[9.0, 9.0], [9.0, 9.0]], [[9.0, 8.0], [9.0, 9.5]]], dtype=torch.float64)
    expected = [[math.exp(-1.5), 1.0]] * 2 + [[math.exp(-1.0), math.exp(-0.5)]] * 2
    assert closeness(m, 2).flatten().tolist() == pytest.approx([x for row in expected for x in row])
    whole = closeness(m, 4)
    assert whole[0, 0].item() == pytest.approx(math.exp(-1.5) + math.exp(-18) + math.exp(-17))


def test_closeness_pushes_collapsed_samples_apart() -> None:
    """d o / d M_i = -sign(M_i - M_j) exp(-|M_i - M_j|), twice: each of the pair sees the other."""
    m = torch.tensor([[[0.3]], [[0.0]]], dtype=torch.float64, requires_grad=True)
    slope, = torch.autograd.grad(closeness(m, 2).sum(), m)
    assert slope.flatten().tolist() == pytest.approx([-2 * math.exp(-0.3), 2 * math.exp(-0.3)])


def test_minibatch_discrimination_starts_as_the_discriminator_and_learns_of_closeness() -> None:
    inner = mlp.Discriminator((2,), 8, 2)
    discriminator = MinibatchDiscrimination(inner, inner.encoding_size, 3, 2, 4)
    x = torch.randn(8, 2)
    assert torch.equal(discriminator(x), inner(x))
    slope, = torch.autograd.grad(discriminator(x).sum(), discriminator.weight)
    assert torch.allclose(slope, closeness((inner.encode(x) @ discriminator.T).unflatten(1, (3, 2)), 4).sum(0))


def test_historical_averaging_by_hand() -> None:
    """Weights 1, 2, 6 after three updates: their mean is 3; at 5 the term is w (5 - 3)^2 and its slope 2 w (5 - 3)."""
    generator, discriminator = Shift(0.0), Linear(1.0, 1.0)
    trick = HistoricalAveraging(generator, discriminator, 0.5)
    game = GAN(generator, discriminator, LOSSES["minimax"], {"history": trick})
    assert trick.generator_terms(game, batch(), None, None)["history"].item() == 0
    for value in (1.0, 2.0, 6.0):
        generator.w.data.fill_(value)
        game.after(game.phases[1], {})
    assert trick.mean_G.item() == pytest.approx(3)
    generator.w.data.fill_(5.0)
    term = trick.generator_terms(game, batch(), None, None)["history"]
    assert term.item() == pytest.approx(0.5 * 4)
    assert torch.autograd.grad(term, generator.w)[0].item() == pytest.approx(0.5 * 2 * 2)
    assert trick.discriminator_terms(game, None)["history"].item() == 0  # D has not moved
    assert {"tricks.history.mean_G", "tricks.history.updates_D"} <= set(game.state_dict())


def test_adaptive_updates() -> None:
    trick = AdaptiveUpdates(ratio=3.0, updates=5)
    g, d = Phase("G", ("G",), None), Phase("D", ("D",), None, updates=2)
    game = GAN(Shift(0.0), Linear(1.0, 1.0), LOSSES["minimax"], adaptive=trick, updates={"D": 2})

    def told(of_g: float, of_d: float) -> tuple[int, int]:
        game.after(g, {"fake": torch.tensor(of_g), "history": torch.tensor(100.0)})
        game.after(d, {"real": torch.tensor(of_d / 2), "fake": torch.tensor(of_d / 2)})
        return game.repeats(g), game.repeats(d)

    assert (game.repeats(g), game.repeats(d)) == (1, 2)  # nothing is known yet
    assert told(0.7, 1.4) == (1, 2)
    assert told(4.0, 1.0) == (5, 2)
    assert told(0.3, 1.0) == (1, 5)
    assert told(-0.3, 1.0) == (1, 5)
    assert told(-3.0, 1.0) == (1, 2)  # a loss far below zero is not small
    assert told(math.nan, 1.0) == (1, 2)


@pytest.mark.slow
def test_players_move_as_often_as_the_recipe_says(tmp_path: Path) -> None:
    """Three batches for D and one, shared, for two updates of G: 384 images are four iterations of 96."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(POINTS)
    launch(1, f"recipe={recipe}", f"run_dir={tmp_path / 'run'}", "game.updates={D: 3, G: 2}")
    facts = store.metadata_of(store.complete(tmp_path / "run" / "checkpoints")[-1])
    assert (facts["images"], facts["iterations"], facts["updates"]) == (384, 4, {"D": 12, "G": 8})


def test_instance_noise_is_of_the_deviation_that_the_schedule_says() -> None:
    images = torch.zeros(8, 3, 16, 16)
    noise = InstanceNoise(Augment(), Schedule(kind="linear", start=0.4, end=0.0, images=1000))
    first = noise(images, DRAWS.of("real"), 0)
    assert first.std().item() == pytest.approx(0.4, rel=0.05)
    assert first.mean().item() == pytest.approx(0.0, abs=0.02)
    assert torch.allclose(noise(images, DRAWS.of("real"), 250), first * 0.75)
    assert torch.equal(noise(images, DRAWS.of("real"), 1000), images)
    assert not torch.equal(noise(images, DRAWS.of("fake"), 0), first)
    images.requires_grad_()
    assert torch.autograd.grad(noise(images, DRAWS, 0).sum(), images)[0].eq(1).all()  # G learns through it


def test_virtual_batch_norm_by_hand() -> None:
    """Reference values 0 and 2, sample 5: normalised by the mean 7/3 and variance 38/9 of (0, 2, 5)."""
    norm = VirtualBatchNorm(1, 2, eps=0.0).double()
    x = torch.tensor([0.0, 2.0, 5.0, -1.0], dtype=torch.float64).view(4, 1, 1, 1)
    found = norm(x).flatten().tolist()
    assert found[:2] == pytest.approx([-1.0, 1.0])
    assert found[2] == pytest.approx((5 - 7 / 3) / math.sqrt(29 / 3 - 49 / 9))
    assert found[3] == pytest.approx((-1 - 1 / 3) / math.sqrt(5 / 3 - 1 / 9))


def test_virtual_batch_norms_gradient_by_hand() -> None:
    """y = (x - m) / s, m and s of (0, 2, x): dy/dx = (1 - m') / s - (x - m) v' / (2 s^3), m' = 1/3, v' = 2 (x - m) / 3.

    The reference batch moves it too: G learns through both.
    """
    norm = VirtualBatchNorm(1, 2, eps=0.0).double()
    x = torch.tensor([0.0, 2.0, 5.0], dtype=torch.float64, requires_grad=True)
    slopes, = torch.autograd.grad(norm(x.view(3, 1, 1, 1))[2].sum(), x)
    m, s = 7 / 3, math.sqrt(38 / 9)

    def slope(value: float, own: float) -> float:
        return (own - 1 / 3) / s - (5 - m) * 2 * (value - m) / 3 / (2 * s**3)

    assert slopes.tolist() == pytest.approx([slope(0, 0), slope(2, 0), slope(5, 1)])


def test_a_sample_under_virtual_batch_norm_sees_no_other() -> None:
    generator = dcgan.Generator(16, 3, 4, 8, virtual=6)
    z = torch.randn(5, 8)
    whole = generator(z)
    assert whole.shape == (5, 3, 16, 16)
    assert torch.allclose(whole[2:3], generator(z[2:3]), atol=1e-6)
    assert generator.state_dict()["reference"].std() > 0.5
    generator.reference.mul_(2)
    assert not torch.allclose(generator(z), whole, atol=1e-3)


def test_unrolled_against_the_derivative_by_hand() -> None:
    """D(x) = w x on reals and fakes at points, Wasserstein loss f = w (g - r): one step moves w to w - eta (g - r).

    G's loss is -(w - eta (g - r)) g; through the step its slope in g is -w + eta (2 g - r), without it -w.
    """
    eta, w, g = 0.3, 0.8, 2.0
    one = batch()
    r = one.reals[:, 0].double().mean().item()
    for steps, expected in ((1, -w + eta * (2 * g - r)), (0, -w)):
        generator = Shift(g)
        game = Unrolled(generator, Linear(w, 0.0), LOSSES["wasserstein"], steps=steps, step_size=eta)
        loss = sum(game.generator_loss(one).values())
        slope, = torch.autograd.grad(loss, generator.w)
        assert slope.item() == pytest.approx(expected)


def test_unrolling_leaves_d_as_it_is() -> None:
    discriminator = mlp.Discriminator((2,), 8, 2)
    before = [p.clone() for p in discriminator.parameters()]
    game = Unrolled(mlp.Generator((2,), 8, 2), discriminator, LOSSES["non_saturating"], steps=3, step_size=0.5)
    sum(game.generator_loss(batch()).values()).backward()
    assert all(torch.equal(p, old) for p, old in zip(discriminator.parameters(), before))
    assert all(p.grad is None for p in discriminator.parameters())
