"""R1 and R2 by finite differences: closed forms, gradients, equal draws at both points, D's passes."""

from collections.abc import Callable

import pytest
import torch
from small_games import batch_of, networks
from torch import Tensor, nn

from scalegan import penalties
from scalegan.augment import Augment
from scalegan.augment.ada import GROUPS, Ada, Given
from scalegan.engines.precision import autocast
from scalegan.games.base import Batch
from scalegan.games.cgan.game import CGAN
from scalegan.games.cgan.networks import Discriminator, Generator
from scalegan.games.gan.game import GAN
from scalegan.games.penalties.finite_difference import FiniteDifferences, Probe
from scalegan.games.penalties.gradient_norm import R1R2Penalty
from scalegan.losses import LOSSES
from scalegan.models import dcgan, mlp
from scalegan.models.layers.minibatch_discrimination import MinibatchDiscrimination
from scalegan.randomness import Draws, parameter_generators

N, AXES = 100_000, 5


class Critic(nn.Module):
    """Any function of samples [n, ...] as D."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.function(x)


def r1_of(function: Callable[[Tensor], Tensor], x: Tensor, probe: Probe) -> tuple[Tensor, Tensor]:
    """R1 of a critic at x [n, axes], and the noise that it drew."""
    game = GAN(mlp.Generator((2,), 4, 1), Critic(function), LOSSES["wasserstein"])
    draws = Draws(1, 0, "D", torch.arange(len(x)))
    term = FiniteDifferences({"real": probe}, every=2).lazy_terms(game, Batch.of(x, draws))["r1"] / 2
    return term, draws.normal("finite_difference/real", *x.shape[1:]).double()


def quadratic() -> tuple[Tensor, Tensor, Tensor]:
    seeded = torch.Generator().manual_seed(0)
    a, w, x = (torch.randn(*shape, generator=seeded, dtype=torch.float64) for shape in ((AXES, AXES), (AXES,), (AXES,)))
    return (a + a.T) / 4, w, x


@pytest.mark.parametrize("antithetic", [False, True])
@pytest.mark.parametrize("sigma", [1e-3, 1.0])
def test_of_a_linear_critic(sigma: float, antithetic: bool) -> None:
    """D(x) = <w, x>: (w.e)^2 for every e and sigma; d/dw = 2 (w.e) e."""
    w = torch.tensor([3.0, -4.0, 12.0], dtype=torch.float64, requires_grad=True)
    found, e = r1_of(lambda x: x @ w, torch.randn(6, 3, dtype=torch.float64), Probe(2.0, sigma, antithetic))
    assert found.item() == pytest.approx((e @ w).square().mean().item(), rel=1e-9)
    gradient, = torch.autograd.grad(found, w)
    torch.testing.assert_close(gradient, (2 * (e @ w)[:, None] * e).mean(0).detach(), rtol=1e-9, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("antithetic", [False, True])
@pytest.mark.parametrize("sigma", [0.01, 0.5])
def test_mean_of_a_quadratic_critic(sigma: float, antithetic: bool) -> None:
    """|Ax + w|^2, one-sided plus sigma^2 ((tr A)^2 + 2 tr A^2) / 4. Five standard deviations are allowed."""
    a, w, x = quadratic()
    found, _ = r1_of(lambda x: ((x @ a) * x).sum(1) / 2 + x @ w, x.expand(N, AXES), Probe(2.0, sigma, antithetic))
    expected = (a @ x + w).square().sum()
    bias = sigma**2 * (a.trace()**2 + 2 * (a @ a).trace()) / 4
    if sigma > 0.1:
        assert bias > 5 * 2 * (2 / N)**0.5 * expected      # the two could not be confused
    assert found.item() == pytest.approx((expected + (0 if antithetic else bias)).item(), rel=5 * 2 * (2 / N)**0.5)


@pytest.mark.slow
def test_mean_of_a_cubic_critic() -> None:
    """x^3: 9 x^4 + 45 x^2 sigma^2 + 15 sigma^4, antithetic 9 x^4 + 18 x^2 sigma^2 + 15 sigma^4."""
    x, sigma = torch.full((N, 1), 1.5, dtype=torch.float64), 0.4
    for antithetic, factor in ((False, 45), (True, 18)):
        found, _ = r1_of(lambda x: x[:, 0]**3, x, Probe(2.0, sigma, antithetic))
        expected = 9 * 1.5**4 + factor * 1.5**2 * sigma**2 + 15 * sigma**4
        assert found.item() == pytest.approx(expected, rel=5 * 2.5 * (2 / N)**0.5)


def games() -> dict[str, tuple[Callable[[dict, Augment], GAN], tuple[int, ...], Tensor | None]]:
    """Discriminators that treat samples alone, compare them, drop units or normalise spectrally."""
    labels = torch.arange(8) % 3

    def family(name: str) -> Callable[[dict, Augment], GAN]:
        return lambda found, augment: GAN(*networks(name), LOSSES["hinge"], found, augment)

    def minibatch(found: dict, augment: Augment) -> GAN:
        d = MinibatchDiscrimination(dcgan.Discriminator(32, 3, 4, norm=False), 16 * 16, 3, 2, 4)
        return GAN(dcgan.Generator(32, 3, 4, 8), d, LOSSES["hinge"], found, augment)

    return {"DCGAN": (family("dcgan"), (3, 32, 32), None), "StyleGAN2": (family("stylegan2"), (3, 32, 32), labels),
            "BigGAN": (family("biggan"), (3, 32, 32), labels), "R3GAN": (family("r3gan"), (3, 32, 32), labels),
            "minibatch discrimination": (minibatch, (3, 32, 32), None),
            "dropout": (lambda found, augment: CGAN(Generator((1, 8, 8), 3), Discriminator((1, 8, 8), 3),
                                                    LOSSES["hinge"], found), (1, 8, 8), labels)}


@pytest.mark.slow
@pytest.mark.parametrize("every", [1, 2], ids=["each update", "lazy"])
@pytest.mark.parametrize("name", games())
def test_both_points_have_the_same_draws(name: str, every: int) -> None:
    """With other masks, augmentations, neighbours or weights the penalty would grow as 1 / sigma^2, here by 100."""
    make, shape, labels = games()[name]
    augment = Ada(dict.fromkeys(GROUPS, 1.0), Given(0.6))
    found = {}
    for sigma in (1e-2, 1e-3):
        for share in (0.5, 1.0):
            game = make({"r1": FiniteDifferences({"real": Probe(1.0, sigma, False, share)}, every)}, augment)
            for player, network in game.players.items():
                network.initialise(parameter_generators(3, player))
            draws = Draws(3, 0, "D", torch.arange(8))
            batch = Batch.of(draws.normal("real", *shape).clamp(-1, 1), draws, labels, labels)
            phase = game.phases[0 if every == 1 else 1]
            found[sigma, share] = phase.loss(batch)["r1"].item()
    for share in (0.5, 1.0):
        assert 0 < found[1e-3, share] < 3 * found[1e-2, share] < 9 * found[1e-3, share]
    assert found[1e-2, 0.5] != found[1e-2, 1.0] or name == "DCGAN"      # whose norms are over the batch


def test_augmentation_after_the_noise_or_before() -> None:
    """Images that an augmentation doubles: noise before it is doubled too, after it is not."""
    class Doubled(Augment):
        def forward(self, images: Tensor, draws: Draws, seen: int) -> Tensor:
            return 2 * images

    found = []
    for augmented in (False, True):
        game = GAN(mlp.Generator((2,), 4, 1), Critic(lambda x: x.sum(1)), LOSSES["wasserstein"],
                   {"r1": FiniteDifferences({"real": Probe(1.0, 0.1, augmented=augmented)})}, Doubled())
        found.append(game.phases[0].loss(Batch.of(torch.randn(4, 2), Draws(0, 0, "D", torch.arange(4))))["r1"].item())
    assert found[0] == pytest.approx(4 * found[1], rel=1e-4)


def r3gan_game(found: dict) -> GAN:
    return GAN(*networks("r3gan"), LOSSES["relativistic"], found)


@pytest.mark.slow
def test_half_precision_does_not_inflate_it() -> None:
    """At reals, which do not depend on G; also where only one of two sigmas is small."""
    probes = {"real": Probe(1.0, 0.01), "fake": Probe(1.0, 0.1)}
    game, found = r3gan_game({"fd": FiniteDifferences(probes)}), {}
    for precision in ("fp32", "bf16"):
        with autocast(precision, torch.device("cpu")):
            found[precision] = game.discriminator_loss(batch_of("r3gan", "D"))
    for name, tolerance in (("r1", 1e-3), ("r2", 0.1)):
        assert found["bf16"][name].item() == pytest.approx(found["fp32"][name].item(), rel=tolerance)


def test_gradients_are_those_of_directional_derivatives() -> None:
    """Of (e . grad D)^2 with the same e, whose mean over e is |grad D|^2, in fp32, for a smooth D. (Where a piecewise
    linear D bends between the two points, differences see what the exact penalty's derivative leaves out.)"""
    torch.manual_seed(0)
    critic = nn.Sequential(nn.Conv2d(3, 8, 4, 2), nn.SiLU(), nn.Conv2d(8, 16, 4, 2), nn.SiLU(), nn.Flatten(),
                           nn.Linear(576, 1), nn.Flatten(0))
    game = GAN(mlp.Generator((2,), 4, 1), Critic(critic), LOSSES["wasserstein"])
    batch, weights = batch_of("dcgan", "D"), list(critic.parameters())
    for antithetic in (False, True):
        term = FiniteDifferences({"real": Probe(2.0, 0.01, antithetic)}, 2).lazy_terms(game, batch)["r1"] / 2
        found = torch.autograd.grad(term, weights)
        reals = batch.reals.clone().requires_grad_()
        inner, = penalties.inner_gradients(critic(reals).sum(), [reals])
        along = (inner * batch.draws.normal("finite_difference/real", 3, 32, 32)).flatten(1).sum(1).square().mean()
        expected = torch.autograd.grad(along, weights[:-1])     # exact: nothing depends on the last bias
        one, two = (torch.cat([g.flatten() for g in gradients]) for gradients in (found[:-1], expected))
        assert torch.cosine_similarity(one, two, dim=0) > 0.99
        assert one.norm().item() == pytest.approx(two.norm().item(), rel=0.1) and found[-1].abs() < 1e-3 * one.norm()


@pytest.mark.slow
def test_passes_of_the_discriminator() -> None:
    """One more call sees all points; an exact penalty beside it keeps the phase from compiled networks."""
    quarter, both = Probe(1.0, share=0.25), Probe(1.0, antithetic=True)
    for found, sizes, compiled in (({"fd": FiniteDifferences({"real": quarter, "fake": quarter})}, [16, 4], True),
                                   ({"fd": FiniteDifferences({"real": quarter, "fake": both})}, [16, 18], True),
                                   ({"r1": R1R2Penalty("real", 1.0), "fd": FiniteDifferences({"fake": quarter})},
                                    [8, 8, 2], False)):
        game, seen, outside = r3gan_game(found), [], []
        game.D.register_forward_hook(lambda module, inputs, logits, seen=seen: seen.append(len(logits)))
        game.compiled = {"G": game.G, "D": lambda *x, game=game, outside=outside: outside.append(1) or game.D(*x)}
        game.discriminator_loss(batch_of("r3gan", "D"))
        assert seen == sizes and bool(outside) == compiled
