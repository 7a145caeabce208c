"""Adversarial variational Bayes: the published losses, the Gaussian case in closed form, and its runs."""

import math
from collections.abc import Callable
from pathlib import Path

import harness
import pytest
import torch
from small_games import SAMPLES, Witness, avb
from torch import Tensor, nn

import scalegan
from scalegan.commands import sample
from scalegan.config import loading
from scalegan.engines.ddp import DDPEngine
from scalegan.engines.ranks import Ranks
from scalegan.errors import RecipeError
from scalegan.games.avb.game import AVB
from scalegan.games.base import Batch
from scalegan.randomness import Draws
from scalegan.training import build

Weights = dict[str, Tensor]


def batch_of(count: int = SAMPLES) -> Batch:
    draws = Draws(3, 0, "ELBO", torch.arange(count))
    return Batch.of(draws.normal("real", 3, 16, 16).clamp(-1, 1), draws)


# --- the formulas, as in the paper, on networks written out from their weights ----------------------------------------


class Published:
    """Algorithm 1 and adaptive contrast, with p(z) = N(0, I). The latter uses five noises more than z."""

    def __init__(self, game: AVB, batch: Batch, contrast: int, gaussian: bool, half_norm: bool) -> None:
        self.w = {name: p.detach().clone().requires_grad_() for name, p in game.named_parameters()}
        self.draws, self.contrast, self.gaussian, self.half_norm = batch.draws, contrast, gaussian, half_norm
        self.x = batch.reals.flatten(1)
        if not gaussian:
            p = (self.x + 1) / 2
            self.x = torch.where(batch.draws.uniform("binarise", 3, 16, 16).flatten(1) < p, 1.0, -1.0)

    def linear(self, h: Tensor, layer: str) -> Tensor:
        return h @ self.w[f"{layer}.weight"].T + self.w[f"{layer}.bias"]

    def encode(self, noise: Tensor) -> Tensor:
        features = torch.relu(self.linear(self.x, "E.trunk.layers.0"))
        h = self.linear(features, "E.image") + self.linear(noise, "E.noise")
        h = torch.where(h > 0, h, torch.exp(h) - 1)
        return self.linear(h, "E.code") + self.linear(noise, "E.shift")

    def t(self, z: Tensor) -> Tensor:
        features = torch.relu(self.linear(self.x, "T.trunk.layers.0"))
        s = torch.relu(self.linear(torch.relu(self.linear(z, "T.s.layers.0")), "T.s.layers.2"))
        both = (self.linear(features, "T.theta") * s).sum(1) / s.shape[1]
        found = both + self.linear(features, "T.t")[:, 0] + self.linear(s, "T.s.layers.4")[:, 0]
        return found + 0.5 * (z**2).sum(1) if self.half_norm else found

    def posterior(self) -> tuple[Tensor, Tensor, Tensor]:
        noise = self.draws.normal("noise", 1 + self.contrast, 2)
        z = self.encode(noise[:, 0])
        if not self.contrast:
            return z, torch.zeros(3), torch.ones(3)
        others = torch.stack([self.encode(noise[:, i]).detach() for i in range(1, 1 + self.contrast)])
        mu = others.sum(0) / self.contrast
        return z, mu, torch.sqrt(((others - mu) ** 2).sum(0) / (self.contrast - 1))

    def elbo(self) -> Weights:
        z, mu, sigma = self.posterior()
        kl = self.t((z - mu) / sigma)
        if self.contrast:
            kl = kl - torch.log(sigma).sum(1) - 0.5 * (((z - mu) / sigma) ** 2).sum(1) + 0.5 * (z**2).sum(1)
        again = torch.tanh(self.linear(torch.relu(self.linear(z, "Dec.layers.0")), "Dec.layers.2"))
        if self.gaussian:
            surprise = ((self.x - again) / 0.2) ** 2 / 2 + math.log(0.2) + 0.5 * math.log(2 * math.pi)
        else:
            p, white = (again + 1) / 2, (self.x + 1) / 2
            surprise = -white * torch.log(p) - (1 - white) * torch.log(1 - p)
        return {"kl": kl.mean(), "reconstruction": surprise.sum(1).mean()}

    def ratio(self) -> Weights:
        z, mu, sigma = (value.detach() for value in self.posterior())
        return {"posterior": -torch.log(torch.sigmoid(self.t((z - mu) / sigma))).mean(),
                "prior": -torch.log(1 - torch.sigmoid(self.t(self.draws.normal("z", 3)))).mean()}


PHASES: dict[str, tuple[Callable[[Published], Weights], set[str]]] = {
    "ELBO": (Published.elbo, {"E", "Dec"}), "T": (Published.ratio, {"T"})}
KINDS = {"plain": (0, False, False), "Gaussian likelihood": (0, True, False), "half the norm": (0, False, True),
         "adaptive contrast": (5, False, False)}


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("kind", KINDS)
def test_an_update_is_the_published_formulas_and_moves_nobody_else(kind: str, phase: str) -> None:
    (contrast, gaussian, half_norm), (formula, movers) = KINDS[kind], PHASES[phase]
    likelihood = {"likelihood": "gaussian", "deviation": 0.2} if gaussian else {}
    game = avb(adaptive_contrast=contrast, half_norm=half_norm, **likelihood)
    build.initialise(game, 5)
    game.Dec.layers[-2].weight.data *= 0.1      # no pixel is certain
    published = Published(game, batch_of(), contrast, gaussian, half_norm)
    witnesses = {name: Witness(player) for name, player in game.players.items()}
    move = next(p for p in game.phases if p.name == phase)
    figures = DDPEngine(game, witnesses, Ranks(0, 1, torch.device("cpu")), SAMPLES).update(move, batch_of())
    terms = formula(published)
    assert {player for player, witness in witnesses.items() if hasattr(witness, "found")} == movers
    for name, term in terms.items():
        assert figures[name].item() == pytest.approx(term.item(), rel=1e-5)
    moving = {name: weight for name, weight in published.w.items() if name.split(".")[0] in movers}
    expected = dict(zip(moving, torch.autograd.grad(sum(terms.values()), list(moving.values()))))
    for player in movers:
        names = [f"{player}.{name}" for name, _ in game.players[player].named_parameters()]
        for name, found in zip(names, witnesses[player].found, strict=True):
            assert (found - expected[name]).norm() <= 1e-4 * expected[name].norm(), name
            assert expected[name].norm() > 0, name


def test_the_phases_see_one_batch_and_step_together() -> None:
    first, second = avb().phases
    assert first.step_with == second.name and second.draws == first.name and not second.fresh_batch


def test_a_ratio_that_knows_nothing() -> None:
    """T = 0: ln 2 for each half of its loss, and no KL divergence."""
    game = avb()
    for parameter in game.T.parameters():
        parameter.data.zero_()
    assert [value.item() for value in game.ratio_loss(batch_of()).values()] == pytest.approx([math.log(2)] * 2)
    assert game.elbo_loss(batch_of())["kl"].item() == 0


# --- a Gaussian posterior ---------------------------------------------------------------------------------------------


class Gaussian(nn.Module):
    """E whose codes of any image are N(m, s^2), in one dimension."""

    noise_dim = 1

    def __init__(self, m: float, s: float) -> None:
        super().__init__()
        self.m, self.s = m, s

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        return self.m + self.s * noise


class Quadratic(nn.Module):
    """T(x, z) = a + b z + c z^2."""

    def __init__(self, *weights: float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(weights))

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        return torch.cat([torch.ones_like(z), z, z * z], 1) @ self.w


M, S = 0.7, 0.5
KL = 0.5 * (M * M + S * S - 1) - math.log(S)
# T* = log q - log p = -ln s - (z - m)^2 / (2 s^2) + z^2 / 2
BEST = (-math.log(S) - M * M / (2 * S * S), M / (S * S), 0.5 - 1 / (2 * S * S))
COUNT = 100_000


def gaussian_game(contrast: int, *weights: float) -> tuple[AVB, Batch]:
    game = AVB(Gaussian(M, S), nn.Identity(), Quadratic(*weights), deviation=1.0, contrast=contrast)
    return game, Batch.of(torch.zeros(COUNT, 1), Draws(1, 0, "ELBO", torch.arange(COUNT)))


def test_the_best_ratio_is_the_log_ratio_of_posterior_and_prior_and_gives_the_divergence() -> None:
    game, batch = gaussian_game(0, *BEST)
    slope, = torch.autograd.grad(sum(game.ratio_loss(batch).values()), game.T.w)
    assert slope.norm() < 0.02
    assert game.elbo_loss(batch)["kl"].item() == pytest.approx(KL, abs=0.01)
    game.T.w.data.neg_()
    assert torch.autograd.grad(sum(game.ratio_loss(batch).values()), game.T.w)[0].norm() > 0.3


def test_with_adaptive_contrast_a_gaussian_posterior_leaves_nothing_to_learn() -> None:
    """Its normalised codes are N(0, 1): T* = 0, and the divergence is in closed form."""
    game, batch = gaussian_game(64, 0.0, 0.0, 0.0)
    slope, = torch.autograd.grad(sum(game.ratio_loss(batch).values()), game.T.w)
    assert slope.norm() < 0.05              # mu and sigma are estimates
    assert game.elbo_loss(batch)["kl"].item() == pytest.approx(KL, abs=0.03)


# --- runs -------------------------------------------------------------------------------------------------------------

RECIPE = """
data: {{path: "{data}", resolution: 16, workers: 0, block_records: 8, window_blocks: 4}}
model: {{name: dcgan, width: 4, latent_dim: 8, norm_group: 4}}
game: {{name: avb, hidden: 16, noise_dim: 4, adaptive_contrast: 3}}
""" + harness.SHORT_RUN


@pytest.fixture(scope="module")
def recipe(tiny_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("avb") / "avb.yaml"
    path.write_text(RECIPE.format(data=tiny_set))
    return path


@pytest.fixture(scope="module")
def straight(recipe: Path) -> Path:
    """An uninterrupted run on one rank."""
    run = recipe.parent / "run"
    harness.launch(1, f"recipe={recipe}", f"run_dir={run}")
    return run


@pytest.mark.slow
def test_four_ranks_and_a_restart_change_no_bit(recipe: Path, straight: Path, tmp_path: Path) -> None:
    harness.launch(4, f"recipe={recipe}", f"run_dir={tmp_path / 'moved'}", "total_images=160")
    harness.launch(1, f"recipe={recipe}", f"run_dir={tmp_path / 'moved'}")
    assert harness.digest(tmp_path / "moved") == harness.digest(straight)
    assert harness.reports(tmp_path / "moved")[-1] == harness.reports(straight)[-1]


@pytest.mark.slow
def test_its_networks_load_and_sample(straight: Path, tmp_path: Path) -> None:
    images = torch.rand(3, 3, 16, 16) * 2 - 1
    decoder = scalegan.load(straight)
    assert decoder.about["network"] == "Dec" and decoder(torch.randn(3, 8)).shape == images.shape
    codes = scalegan.load(straight, "encode")(images)
    assert codes.shape == (3, 8)
    torch.testing.assert_close(scalegan.load(straight, "reconstruct")(images), decoder(codes))
    assert sample.main([str(straight), "--seeds", "0-3", "--out", str(tmp_path)]) == 0
    assert len(list(tmp_path.glob("*.png"))) == 5


@pytest.mark.parametrize("wrong, said", [
    (["model.name=stylegan2"], "does not expose; use dcgan or mlp"),
    (["model.latent=uniform"], "the prior of game.name=avb is N(0, I)"),
    (["game.deviation=0.3"], "game.deviation applies only to game.likelihood=gaussian"),
    (["game.half_norm=true"], "leave one of them out"),
    (["game.adaptive_contrast=1"], "game.adaptive_contrast"),
    (["data.labels=class"], "set data.labels=none"),
    (["augment.name=ada"], "use augment.name=none"),
    (["optimizer.D.lr=1"], "players E, Dec and T"),
])
def test_what_does_not_fit_is_said_in_a_line(wrong: list[str], said: str, recipe: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        loading.load([f"recipe={recipe}", "run_dir=run", *wrong])
    assert said in str(caught.value) and "\n" not in str(caught.value)
