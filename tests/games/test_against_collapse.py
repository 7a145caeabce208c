"""DeLiGAN, MAD-GAN and consensus optimisation: updates and closed forms from the papers, pictures, what is refused."""

import copy
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from harness import launch
from small_games import AGAINST_COLLAPSE, SAMPLES, Witness, batch_for, conditional, leave_zero
from torch import Tensor, nn

import scalegan
from scalegan.config import loading
from scalegan.engines.ddp import DDPEngine
from scalegan.engines.ranks import Ranks
from scalegan.errors import RecipeError
from scalegan.games.base import Batch, Game, Preview
from scalegan.games.consensus.game import Consensus
from scalegan.games.gan.mixture import LatentMixture
from scalegan.games.madgan.losses import GENERATOR_TERMS, discriminator_terms
from scalegan.games.sampling import latents
from scalegan.losses import LOSSES
from scalegan.models import mlp
from scalegan.randomness import Draws

Terms = dict[str, Tensor]
ALONE = Ranks(0, 1, torch.device("cpu"))
DRAWS = Draws(0, 0, "D", torch.arange(4096))


def prepared(name: str, phase: str) -> tuple[Game, Batch]:
    """A game none of whose parameters is zero, and a batch."""
    game, specs = conditional(name)
    leave_zero(game)
    return game, batch_for(specs, Draws(3, 0, phase, torch.arange(SAMPLES)))


# --- one update, written out from the papers ------------------------------------------------------------------------

def log_softmax(logits: Tensor, place: Tensor | int) -> Tensor:
    chances = logits.exp() / logits.exp().sum(1, keepdim=True)
    return chances[torch.arange(len(logits)), place].log()


def deligan_fakes(game: Game, batch: Batch) -> Tensor:
    """z = mu_k + sigma_k eps, for one component after another."""
    eps, component = batch.draws.normal("z", 8), batch.draws.integers("component", 5)
    z = torch.stack([game.G.mu[k] + game.G.sigma[k] * one for k, one in zip(component.tolist(), eps)])
    return game.G.generator(z)


def deligan_d(game: Game, batch: Batch) -> Terms:
    real, fake = game.D(batch.reals).sigmoid(), game.D(deligan_fakes(game, batch).detach()).sigmoid()
    return {"real": -real.log().mean(), "fake": -(1 - fake).log().mean()}


def deligan_g(game: Game, batch: Batch) -> Terms:
    sigma = game.G.sigma
    return {"fake": -game.D(deligan_fakes(game, batch)).sigmoid().log().mean(),
            "deviations": 0.7 * ((1 - sigma) ** 2).sum() / sigma.numel()}


def madgan_fakes(game: Game, batch: Batch) -> tuple[Tensor, Tensor]:
    """Every generator is the shared layers and a last layer of its own; every fake is made by one of them."""
    noise, makers = batch.draws.normal("z", 8), batch.draws.integers("generator", 3)
    shared, last = game.G.generator, game.G.generator.layers[-2]
    convolution, norm = shared.stem
    h = shared.layers[:-2](norm(convolution(noise[:, :, None, None])))
    of_each = [torch.tanh(torch.conv_transpose2d(h, last.weight[:, 3 * i : 3 * i + 3], None, last.stride, last.padding))
               for i in range(3)]
    return torch.stack([of_each[maker][place] for place, maker in enumerate(makers.tolist())]), makers


def madgan_d(game: Game, batch: Batch) -> Terms:
    fakes, makers = madgan_fakes(game, batch)
    return {"real": -log_softmax(game.D(batch.reals), 3).mean(),
            "fake": -3 * log_softmax(game.D(fakes.detach()), makers).mean()}


def madgan_g(game: Game, batch: Batch) -> Terms:
    return {"fake": -3 * log_softmax(game.D(madgan_fakes(game, batch)[0]), 3).mean()}


def madgan_g_as_printed(game: Game, batch: Batch) -> Terms:
    return {"fake": 3 * (1 - log_softmax(game.D(madgan_fakes(game, batch)[0]), 3).exp()).log().mean()}


FORMULAS: dict[tuple[str, str], Callable[[Game, Batch], Terms]] = {
    ("DeLiGAN", "D"): deligan_d, ("DeLiGAN", "G"): deligan_g,
    ("MAD-GAN", "D"): madgan_d, ("MAD-GAN", "G"): madgan_g,
    ("MAD-GAN as printed", "D"): madgan_d, ("MAD-GAN as printed", "G"): madgan_g_as_printed,
}


def compare(found: list[Tensor], expected: tuple[Tensor | None, ...], names: list[str]) -> None:
    whole = torch.cat([g.flatten() for g in found]).norm()
    assert whole > 1e-4
    for name, one, other in zip(names, found, expected, strict=True):
        other = torch.zeros_like(one) if other is None else other
        assert (one - other).norm() <= 1e-4 * other.norm() + 1e-6 * whole, name


@pytest.mark.parametrize("name, phase", FORMULAS, ids=[f"{name}, {phase}" for name, phase in FORMULAS])
def test_an_update_is_the_published_formulas(name: str, phase: str) -> None:
    game, batch = prepared(name, phase)
    published = copy.deepcopy(game)
    witnesses = {player: Witness(network) for player, network in game.players.items()}
    figures = DDPEngine(game, witnesses, ALONE, SAMPLES).update(next(p for p in game.phases if p.name == phase), batch)
    expected, mover = FORMULAS[name, phase](published, batch), published.players[phase]
    for term, value in expected.items():
        assert figures[term].item() == pytest.approx(value.item(), rel=1e-5, abs=1e-6), term
    assert {term for term in figures if not term.startswith(("grad_norm", "real_logit", "fake_logit"))} == set(expected)
    compare(witnesses[phase].found, torch.autograd.grad(sum(expected.values()), list(mover.parameters()),
                                                        allow_unused=True), [n for n, _ in mover.named_parameters()])


@pytest.mark.parametrize("gamma", [0.0, 0.1], ids=["simultaneous gradients", "consensus"])
def test_an_update_of_consensus_is_the_published_one(gamma: float) -> None:
    """Mescheder et al. (2017), algorithm 2: both players' gradients, and gamma times that of half their squares."""
    game, batch = prepared("consensus", "GD")
    game.gamma = gamma
    other = copy.deepcopy(game)
    assert (batch.labels != batch.condition()).any()
    witnesses = {player: Witness(network) for player, network in game.players.items()}
    figures = DDPEngine(game, witnesses, ALONE, SAMPLES).update(game.phases[0], batch)

    fakes = other.G(batch.draws.normal("z", 8), batch.condition())
    real, fake = other.D(batch.reals, batch.labels).sigmoid(), other.D(fakes, batch.condition()).sigmoid()
    d_loss, g_loss = -real.log().mean() - (1 - fake).log().mean(), -fake.log().mean()
    weights = [list(other.players[player].parameters()) for player in "DG"]
    v = [*torch.autograd.grad(d_loss, weights[0], create_graph=True),
         *torch.autograd.grad(g_loss, weights[1], create_graph=True)]
    half_squares = sum(one.square().sum() for one in v) / 2
    further = torch.autograd.grad(half_squares, [*weights[0], *weights[1]])
    expected = [(a + gamma * b).detach() for a, b in zip(v, further)]
    values = {"D": d_loss, "G": g_loss, "consensus": gamma * half_squares}
    for term, value in values.items():
        assert figures[term].item() == pytest.approx(value.item(), rel=1e-5, abs=1e-6), term
    count = len(weights[0])
    for player, part in (("D", expected[:count]), ("G", expected[count:])):
        compare(witnesses[player].found, tuple(part), [n for n, _ in other.players[player].named_parameters()])


def test_the_tables_have_every_phase() -> None:
    for name in AGAINST_COLLAPSE:
        known = {phase for of, phase in FORMULAS if of == name} or {"GD"}
        assert {phase.name for phase in conditional(name)[0].phases} == known


# --- closed forms ---------------------------------------------------------------------------------------------------

class Angle(nn.Module):
    """The players of the Dirac-GAN: G makes the point theta, D(x) = psi x; all data is 0."""

    latent, latent_dim = "normal", 1

    def __init__(self, start: float, of_x: bool) -> None:
        super().__init__()
        self.weight, self.of_x = nn.Parameter(torch.tensor(start, dtype=torch.float64)), of_x

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.weight * (x[:, 0] if self.of_x else torch.ones(len(x), 1, dtype=torch.float64))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0], ids=["no regulariser spirals outwards", "gamma 0.5", "gamma 2"])
def test_on_a_bilinear_game_each_update_multiplies_the_distance_by_the_eigenvalues_modulus(gamma: float) -> None:
    """L_D = psi theta = -L_G: an update's eigenvalues are 1 - h gamma +- i h (sections 3 and 4), whose modulus is above
    1 without the regulariser and below 1 with it."""
    step, updates = 0.1, 20
    game = Consensus(Angle(0.6, False), Angle(-0.8, True), LOSSES["wasserstein"], gamma)
    optimizers = {name: torch.optim.SGD(player.parameters(), lr=step) for name, player in game.players.items()}
    engine = DDPEngine(game, optimizers, ALONE, 4)
    for _ in range(updates):
        engine.update(game.phases[0], Batch.of(torch.zeros(4, 1, dtype=torch.float64), DRAWS[:4]))
    distance = math.hypot(game.G.weight.item(), game.D.weight.item())
    modulus = math.hypot(1 - step * gamma, step)
    assert distance == pytest.approx(modulus**updates, rel=1e-9)
    assert (distance > 1) == (gamma == 0)


def test_madgans_d_that_knows_nothing() -> None:
    logits, makers = torch.zeros(8, 5), torch.arange(8) % 4
    terms = discriminator_terms(logits, logits, makers)
    assert {name: value.item() for name, value in terms.items()} == pytest.approx(
        {"real": math.log(5), "fake": 4 * math.log(5)})
    assert GENERATOR_TERMS["non_saturating"](logits)["fake"].item() == pytest.approx(4 * math.log(5))
    assert GENERATOR_TERMS["minimax"](logits)["fake"].item() == pytest.approx(4 * math.log(4 / 5))


def test_madgans_best_d_and_the_value_of_the_game() -> None:
    """Ghosh et al. (2018), proposition 1 and theorem 1: D_i = p_i / (p_d + sum p_j), and the value is (k + 1) log
    (k + 1) - k log k less where the mixture is the data, here of two generators over three outcomes."""
    of_makers = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.25, 0.75]], dtype=torch.float64)
    data = of_makers.mean(0)
    outcomes = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)      # D's logits, by outcome
    shares = torch.cat([of_makers, data[None]])
    fakes = torch.cat([torch.arange(3).repeat_interleave((100 * p).long()) for p in of_makers])
    makers, reals = torch.arange(2).repeat_interleave(100), torch.arange(3).repeat_interleave((200 * data).long())
    optimizer = torch.optim.LBFGS([outcomes], max_iter=300, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        total = sum(discriminator_terms(outcomes[reals], outcomes[fakes], makers).values())
        total.backward()
        return total

    optimizer.step(closure)
    found = outcomes.detach().softmax(1)
    assert torch.allclose(found, (shares / shares.sum(0)).T, atol=1e-4)
    of_reals = discriminator_terms(outcomes[reals], outcomes[fakes], makers)["real"]
    value = GENERATOR_TERMS["minimax"](outcomes[fakes])["fake"] - of_reals
    assert value.item() == pytest.approx(2 * math.log(2) - 3 * math.log(3), abs=1e-4)


def test_deligans_latents_are_the_mixture() -> None:
    """Components are drawn uniformly; those of one are N(mu_k, sigma_k^2), by position and not by batch."""
    generator = LatentMixture(mlp.Generator((2,), 4, 1, 2), 4, 0.3)
    seen: list[Tensor] = []
    generator.generator.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
    z = latents(generator, DRAWS)
    generator(z)
    component = z[:, 2:].argmax(1)
    assert (component.bincount() / len(z) - 0.25).abs().max() < 0.03
    for k in range(4):
        own = seen[0][component == k]
        assert torch.allclose(own.mean(0), generator.mu[k], atol=0.04) and (own.std(0) - 0.3).abs().max() < 0.03
    assert generator.mu.abs().max() <= 1 and generator.mu.std() > 0.2
    assert latents(generator, DRAWS[100:200]).equal(z[100:200])


def test_the_term_of_deviations_draws_them_towards_one() -> None:
    game, batch = prepared("DeLiGAN", "G")
    slope, = torch.autograd.grad(game.generator_loss(batch)["deviations"], game.G.sigma)
    assert torch.allclose(slope, 0.7 * 2 * (game.G.sigma - 1) / game.G.sigma.numel())


# --- pictures, exports, recipes -------------------------------------------------------------------------------------

def test_each_column_of_madgans_picture_is_one_generators() -> None:
    game, _ = prepared("MAD-GAN", "G")
    game.eval()
    made_by: list[Tensor] = []
    game.G.register_forward_pre_hook(lambda module, inputs: made_by.append(module.makers(inputs[0])))
    game.draw({"G": game.G}, Preview(Draws(0, 0, "snapshot", torch.arange(12)), columns=4))
    assert made_by[0].view(3, 4).tolist() == [[0, 1, 2, 0]] * 3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["deligan_mnist", "madgan_mnist", "consensus_mnist"])
def test_its_recipe_trains_and_its_generator_loads(name: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    launch(1, f"recipe={name}", "total_images=64", "model.width=4", "data.workers=0", "log.tensorboard=false",
           f"run_dir={run}")
    generator = scalegan.load(run)
    images = generator(latents(generator, DRAWS[:6]))
    assert images.shape == (6, 1, 32, 32) and images.abs().max() <= 1
    assert not images[0].equal(images[1])


WRONG = {
    "MAD-GAN with labels": (["recipe=madgan_mnist", "data.labels=class"], "set data.labels=none"),
    "MAD-GAN of a family without features": (["recipe=madgan_mnist", "model={name: r3gan}"], "use dcgan or mlp"),
    "consensus of another family": (["recipe=consensus_mnist", "model={name: r3gan}"], "use one of them"),
    "consensus, compiled": (["recipe=consensus_mnist", "engine.compile=true"], "set engine.compile=false"),
    "DeLiGAN with styles": (["recipe=deligan_mnist", "model={name: stylegan2}", "game.tricks.minibatch_discrimination="
                             "null"], "use another family"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_recipe_that_cannot_work_is_refused_in_one_line(case: str) -> None:
    arguments, remedy = WRONG[case]
    with pytest.raises(RecipeError) as refusal:
        loading.load(arguments)
    assert remedy in str(refusal.value) and "\n" not in str(refusal.value)
