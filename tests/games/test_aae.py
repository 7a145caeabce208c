"""Adversarial autoencoders: the published losses, priors, networks and exports."""

import math
from collections.abc import Callable
from pathlib import Path

import harness
import pytest
import torch
import torch.nn.functional as F
from small_games import SAMPLES, Witness, aae
from torch import Tensor, nn

import scalegan
from scalegan.commands import sample
from scalegan.config import loading
from scalegan.data.spec import Spec
from scalegan.engines.ddp import DDPEngine
from scalegan.engines.ranks import Ranks
from scalegan.errors import RecipeError
from scalegan.games.aae.game import AAE
from scalegan.games.aae.networks import Latent
from scalegan.games.aae.priors import Prior
from scalegan.games.base import Batch, Game, Sample
from scalegan.randomness import Draws, parameter_generators
from scalegan.training import build
from scalegan.training.costs import specs_of

Weights = dict[str, Tensor]


def batch_of(phase: str, count: int = SAMPLES) -> Batch:
    """Two streams of other images, with other classes."""
    draws = Draws(3, 0, phase, torch.arange(count))
    return Batch({name: Sample(draws.normal(name, 3, 16, 16).clamp(-1, 1), (torch.arange(count) + shift) % 4)
                  for shift, name in enumerate(("real", "labelled"))}, draws)


# --- the formulas, as in the paper, on networks written out from their weights ----------------------------------------


class Published:
    """The losses of sections 2 and 5; what is drawn is real. All networks are two ReLU layers and a linear one."""

    def __init__(self, game: AAE, batch: Batch) -> None:
        self.w = {name: p.detach().clone().requires_grad_() for name, p in game.named_parameters()}
        self.x, self.draws = batch.reals.flatten(1), batch.draws
        self.labelled, self.y = batch.streams["labelled"].data.flatten(1), batch.streams["labelled"].condition
        self.semi = game.D_y is not None

    def stack(self, h: Tensor, *layers: str) -> Tensor:
        for number, layer in enumerate(layers):
            h = h @ self.w[f"{layer}.weight"].T + self.w[f"{layer}.bias"]
            h = torch.where(h > 0, h, torch.zeros_like(h)) if number < 2 else h
        return h

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Style, and probabilities of the classes."""
        code = self.stack(x, "E.trunk.layers.0", "E.trunk.layers.2", "E.head")
        e = torch.exp(code[:, 3:])
        return code[:, :3], e / e.sum(1, keepdim=True)

    def probability(self, z: Tensor, network: str = "D") -> Tensor:
        return torch.sigmoid(self.stack(z, *(f"{network}.layers.{layer}" for layer in (0, 2, 4))))

    def autoencoder(self) -> Weights:
        decoder = "Dec.generator" if self.semi else "Dec"
        again = self.stack(torch.cat(self.encode(self.x), 1), *(f"{decoder}.layers.{layer}" for layer in (0, 2, 4)))
        return {"reconstruction": 3.0 * ((torch.tanh(again) - self.x) ** 2).sum() / self.x.numel()}

    def discriminator(self) -> Weights:
        z, y = (code.detach() for code in self.encode(self.x))
        terms = {"real": -torch.log(self.probability(self.draws.normal("z", 3))).mean(),
                 "fake": -torch.log(1 - self.probability(z)).mean()}
        if self.semi:
            drawn = torch.eye(4)[self.draws.integers("class", 4)]
            terms |= {"real_y": -torch.log(self.probability(drawn, "D_y")).mean(),
                      "fake_y": -torch.log(1 - self.probability(y, "D_y")).mean()}
        return terms

    def encoder(self) -> Weights:
        z, y = self.encode(self.x)
        terms = {"fake": -torch.log(self.probability(z)).mean()}
        return terms | ({"fake_y": -torch.log(self.probability(y, "D_y")).mean()} if self.semi else {})

    def label(self) -> Weights:
        y = self.encode(self.labelled)[1]
        return {"cross_entropy": -torch.log(y[torch.arange(SAMPLES), self.y]).mean()}


PHASES: dict[str, tuple[bool, str, Callable[[Published], Weights], set[str]]] = {
    "the autoencoder's": (False, "AE", Published.autoencoder, {"E", "Dec"}),
    "the discriminator's": (False, "D", Published.discriminator, {"D"}),
    "the encoder's": (False, "E", Published.encoder, {"E"}),
    "the autoencoder's, semi-supervised": (True, "AE", Published.autoencoder, {"E", "Dec"}),
    "both discriminators'": (True, "D", Published.discriminator, {"D", "D_y"}),
    "the encoder's, semi-supervised": (True, "E", Published.encoder, {"E"}),
    "the labels'": (True, "label", Published.label, {"E"}),
}


@pytest.mark.parametrize("case", PHASES)
def test_an_update_is_the_published_formulas_and_moves_nobody_else(case: str) -> None:
    semi, phase, formula, movers = PHASES[case]
    game = aae(semi_supervised=semi)
    build.initialise(game, 5)
    published = Published(game, batch_of(phase))
    witnesses = {name: Witness(player) for name, player in game.players.items()}
    move = next(p for p in game.phases if p.name == phase)
    engine = DDPEngine(game, witnesses, Ranks(0, 1, torch.device("cpu")), SAMPLES)
    figures = engine.update(move, batch_of(phase))
    terms = formula(published)
    assert {player for player, witness in witnesses.items() if hasattr(witness, "found")} == movers
    for name, term in terms.items():
        assert figures[name].item() == pytest.approx(term.item(), rel=1e-5)
    moving = {name: weight for name, weight in published.w.items() if name.split(".")[0] in movers}
    slopes = torch.autograd.grad(sum(terms.values()), list(moving.values()), materialize_grads=True)
    expected = dict(zip(moving, slopes))
    for player in movers:
        names = [f"{player}.{name}" for name, _ in game.players[player].named_parameters()]
        for name, found in zip(names, witnesses[player].found, strict=True):
            assert (found - expected[name]).norm() <= 1e-4 * expected[name].norm(), name
            assert expected[name].norm() > 0, name


def test_classes_of_the_unlabelled_images_are_only_counted() -> None:
    game, batch = aae(semi_supervised=True), batch_of("AE")
    without = Batch({**batch.streams, "real": Sample(batch.reals)}, batch.draws)
    for phase in game.phases:
        assert phase.loss(batch) == phase.loss(without)
    assert 0 <= batch.figures["error"] <= 1 and "error" not in without.figures


def test_noise_is_on_the_encoders_images_alone() -> None:
    """The reconstruction is compared with the image without noise."""
    game, batch = aae(input_noise=0.5), batch_of("AE")
    noisy = batch.reals + 0.5 * batch.draws.normal("noise", 3, 16, 16)
    expected = 3.0 * F.mse_loss(game.Dec(game.E(noisy)), batch.reals)
    torch.testing.assert_close(game.reconstruction_loss(batch)["reconstruction"], expected)


# --- closed forms -----------------------------------------------------------------------------------------------------


def test_a_discriminator_that_knows_nothing() -> None:
    """Zero logits: ln 2 for each half of a discriminator's loss, and for E's; ln K for the labels'."""
    game = aae(semi_supervised=True)
    for parameter in [*game.D.parameters(), *game.D_y.parameters(), *game.E.head.parameters()]:
        parameter.data.zero_()
    assert game.label_loss(batch_of("D"))["cross_entropy"].item() == pytest.approx(math.log(4))
    for loss, terms in ((game.discriminator_loss, {"real", "fake", "real_y", "fake_y"}),
                        (game.encoder_loss, {"fake", "fake_y"})):
        found = loss(batch_of("D"))
        assert found.keys() == terms
        assert [value.item() for value in found.values()] == pytest.approx([math.log(2)] * len(terms))


class Quadratic(nn.Module):
    """z [n, 1] -> a + b z + c z^2."""

    def __init__(self, *weights: float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(weights))

    def forward(self, z: Tensor) -> Tensor:
        return torch.cat([torch.ones_like(z), z, z * z], 1) @ self.w


class AsTheyAre(nn.Identity):
    """An encoder whose codes are its samples."""

    def split(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        return outputs, outputs[:, :0]

    def drawn(self, outputs: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        return self.split(outputs)


@pytest.mark.parametrize("m, s", [(0.0, 1.0), (0.7, 0.5)])
def test_the_best_discriminator_is_the_log_ratio_of_prior_and_codes(m: float, s: float) -> None:
    """p = N(0, 1) is real, q = N(m, s^2) fake: at log p - log q, D's gradient vanishes; turned round it does not."""
    best = Quadratic(math.log(s) + m * m / (2 * s * s), -m / (s * s), 1 / (2 * s * s) - 0.5)
    draws = Draws(1, 0, "D", torch.arange(100_000))
    decoder = nn.Identity()
    decoder.latent = Latent(Prior("gaussian", 1), 0)
    game = AAE(AsTheyAre(), decoder, best)
    terms = game.discriminator_loss(Batch.of(m + s * draws.normal("code", 1), draws))
    slope, = torch.autograd.grad(sum(terms.values()), best.w)
    assert slope.norm() < 0.02
    if (m, s) == (0, 1):
        assert sum(terms.values()).item() == pytest.approx(2 * math.log(2))
        return
    best.w.data.neg_()
    terms = game.discriminator_loss(Batch.of(m + s * draws.normal("code", 1), draws))
    assert torch.autograd.grad(sum(terms.values()), best.w)[0].norm() > 0.3


# --- networks ---------------------------------------------------------------------------------------------------------


def parameters(game: Game) -> dict[str, int]:
    return {name: sum(p.numel() for p in player.parameters()) for name, player in game.players.items()}


@pytest.mark.parametrize("name, expected", [
    ("aae_mnist", {"E": 1_796_010, "Dec": 1_796_784, "D": 1_013_001}),
    ("aae_semi_mnist", {"E": 1_806_020, "Dec": 1_806_784, "D": 1_013_001, "D_y": 1_013_001})])
def test_the_papers_networks_have_the_papers_number_of_parameters(name: str, expected: dict[str, int]) -> None:
    """Two hidden layers of 1,000 units, 28 x 28 px, ten codes, ten classes."""
    recipe = loading.load([f"recipe={name}", "model.latent_dim=10"])
    with torch.device("meta"):
        game = build.game(recipe, specs_of(recipe))
    assert parameters(game) == expected


@pytest.mark.parametrize("model", [{"name": "mlp", "hidden": 64, "layers": 2, "latent_dim": 5},
                                   {"name": "dcgan", "width": 8, "latent_dim": 5, "norm_group": 8}])
def test_codes_start_near_the_prior(model: dict[str, object]) -> None:
    game = aae(model)
    for name, player in game.players.items():
        player.initialise(parameter_generators(0, name))
    codes = game.E(batch_of("x", 64).reals)
    assert codes.shape == (64, 5) and 0.2 < codes.std() < 3
    assert F.mse_loss(game.Dec(codes), batch_of("x", 64).reals) < 3


# --- runs -------------------------------------------------------------------------------------------------------------

RECIPE = """
data: {{path: "{data}", resolution: 16, labels: class, workers: 0, block_records: 8, window_blocks: 4}}
streams:
  labelled: {{path: "{few}", resolution: 16, labels: class, workers: 0, block_records: 8, window_blocks: 4}}
model: {{name: dcgan, width: 4, latent_dim: 8, norm_group: 4}}
game: {{name: aae, semi_supervised: true, input_noise: 0.3, hidden: 16}}
""" + harness.SHORT_RUN


@pytest.fixture(scope="module")
def recipe(tiny_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("aae")
    few = harness.make_set(folder / "few", (24,))
    (folder / "aae.yaml").write_text(RECIPE.format(data=tiny_set, few=few))
    return folder / "aae.yaml"


@pytest.fixture(scope="module")
def straight(recipe: Path) -> Path:
    """An uninterrupted semi-supervised run on one rank."""
    run = recipe.parent / "run"
    harness.launch(1, f"recipe={recipe}", f"run_dir={run}")
    return run


@pytest.mark.slow
def test_ranks_and_a_kill_change_no_bit(recipe: Path, straight: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    process = harness.start(f"recipe={recipe}", f"run_dir={moved}")
    harness.wait_until(lambda: list(moved.glob("checkpoints/*/COMPLETE")), "there is a checkpoint")
    process.kill()
    process.wait()
    harness.launch(4, f"recipe={recipe}", f"run_dir={moved}", "total_images=240")
    harness.launch(2, f"recipe={recipe}", f"run_dir={moved}")
    assert harness.digest(moved) == harness.digest(straight)
    assert harness.reports(moved)[-1] == harness.reports(straight)[-1]
    assert harness.samples(straight).items() <= harness.samples(moved).items()
    assert {"loss/label/cross_entropy", "loss/AE/error", "loss/D/fake_y"} <= harness.reports(straight)[-1].keys()


@pytest.mark.slow
def test_its_networks_load_and_sample(straight: Path, tmp_path: Path) -> None:
    images = torch.rand(3, 3, 16, 16) * 2 - 1
    decoder = scalegan.load(straight)
    assert decoder.about["network"] == "Dec" and decoder(torch.randn(3, 8 + 4)).shape == images.shape
    z, logits = (scalegan.load(straight, name)(images) for name in ("encode", "classify"))
    assert z.shape == (3, 8) and logits.shape == (3, 4)
    again = scalegan.load(straight, "reconstruct")(images)
    torch.testing.assert_close(again, decoder(torch.cat([z, logits.softmax(1)], 1)))
    named = torch.cat([z, torch.eye(4)[[1, 2, 3]]], 1)
    torch.testing.assert_close(decoder(named), decoder(torch.cat([z, logits], 1), torch.tensor([1, 2, 3])))
    assert sample.main([str(straight), "--seeds", "0-3", "--classes", "b,c", "--out", str(tmp_path)]) == 0
    assert len(list(tmp_path.glob("*.png"))) == 5


NO_LABELS = ["game.semi_supervised=false", "data.labels=none"]


@pytest.mark.parametrize("wrong, said", [
    (["model.name=biggan"], "does not expose; use dcgan, mlp or autoencoder_kl"),
    (["game.prior=mixture"], "game.prior=mixture is two-dimensional, but model.latent_dim=8"),
    (["game.prior=spiral"], "swiss_roll"),
    (["game.components=3"], "game.components applies only to game.prior=mixture"),
    (["model.latent=uniform"], "leave out model.latent"),
    (["augment.name=ada"], "the D of game.name=aae sees codes"),
    (["optimizer.G.lr=1"], "players E, Dec, D and D_y"),
    (["data.labels=attributes"], "not attributes"),
    (["streams.labelled.labels=none"], "set streams.labelled.labels=class"),
    (["streams.labelled.path=''"], "streams.labelled.path is not given"),
    (NO_LABELS, "streams.labelled: game.name=aae has no such stream"),
])
def test_what_does_not_fit_is_said_in_a_line(wrong: list[str], said: str, recipe: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        loading.load([f"recipe={recipe}", "run_dir=run", *wrong])
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_without_labels_there_is_nothing_to_do_for_labels() -> None:
    with pytest.raises(RecipeError, match=r"set data\.labels=none, or game\.semi_supervised=true"):
        loading.load(["recipe=aae_mnist", "data.labels=class"])


@pytest.mark.parametrize("labelled, said", [
    (Spec("image", (3, 32, 32), classes=4), "those of streams.labelled [3, 32, 32]"),
    (Spec("image", (3, 16, 16), classes=5), "data has 4 classes, streams.labelled 5"),
    (Spec("image", (3, 16, 16), classes=4, label_names=("b", "a", "c", "d")), "or their names differ"),
])
def test_streams_that_do_not_fit_each_other(labelled: Spec, said: str, recipe: Path) -> None:
    made = loading.load([f"recipe={recipe}", "run_dir=run"])
    with pytest.raises(RecipeError) as caught:
        AAE.make(made, {"real": Spec("image", (3, 16, 16), classes=4, label_names=tuple("abcd")), "labelled": labelled})
    assert said in str(caught.value)
