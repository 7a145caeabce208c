"""Games with labels or codes: one update against the published formulas, AC-GAN, and what recipes may not say."""

import copy
import itertools
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from harness import ends
from small_games import CONDITIONAL, SAMPLES, Witness, batch_for, conditional, leave_zero
from torch import Tensor, nn

from scalegan.config import loading
from scalegan.engines.ddp import DDPEngine
from scalegan.engines.ranks import Ranks
from scalegan.errors import RecipeError
from scalegan.games.acgan import networks as of_acgan
from scalegan.games.acgan.game import ACGAN
from scalegan.games.base import Batch, Game
from scalegan.models.layers.dropout import KeyedDropout, drawn_from
from scalegan.randomness import Draws

Terms = dict[str, Tensor]
ALONE = Ranks(0, 1, torch.device("cpu"))


def prepared(name: str, phase: str) -> tuple[Game, Batch]:
    """A game none of whose parameters is zero, and a batch whose reals and fakes have different labels."""
    game, specs = conditional(name)
    leave_zero(game)
    batch = batch_for(specs, Draws(3, 0, phase, torch.arange(SAMPLES)))
    for stream, labels in batch.given.items():
        assert (labels != batch.streams[stream].condition).any()
    return game, batch


# --- the formulas, as in the papers ---------------------------------------------------------------------------------

def log_chance(logits: Tensor) -> Tensor:
    return torch.log(torch.sigmoid(logits)).mean()


def log_likelihood(logits: Tensor, labels: Tensor) -> Tensor:
    """E log P(C = c | x): of a softmax for classes, of independent sigmoids for attributes."""
    if labels.dim() == 1:
        return torch.log(torch.softmax(logits, 1))[torch.arange(len(labels)), labels].mean()
    chance = torch.sigmoid(logits)
    return (labels * torch.log(chance) + (1 - labels) * torch.log(1 - chance)).sum(1).mean()


class Published:
    """Losses of one batch: the networks, the draws and the labels are the game's, everything else is written out.

    Args:
        G, D: the players.
        x, y: reals and their labels; c: labels of fakes.
    """

    def __init__(self, game: Game, batch: Batch) -> None:
        self.G, self.D, self.batch = game.players["G"], game.players["D"], batch
        self.x, self.y, self.c = batch.reals, batch.labels, batch.given.get("real")
        self.Q = game.players.get("Q")

    def fake(self) -> Tensor:
        return self.G(self.batch.draws.normal("z", self.G.latent_dim), self.c)

    def two_heads(self, images: Tensor, side: str) -> tuple[Tensor, Tensor]:
        """Logits of S = real, of which P(S = fake | x) is the sigmoid of the negative, and of the labels."""
        with drawn_from(self.batch.draws.of(side), self.D):
            return self.D(images)

    def acgan_d(self, weight: float = 1.0, fakes: float = 1.0) -> Terms:
        """Odena et al. (2017), section 3: D maximises L_S + L_C, over reals and fakes."""
        real, of_real = self.two_heads(self.x, "real")
        fake, of_fake = self.two_heads(self.fake().detach(), "fake")
        return {"real": -log_chance(real), "fake": -log_chance(-fake),
                "real_class": -weight * log_likelihood(of_real, self.y),
                "fake_class": -weight * fakes * log_likelihood(of_fake, self.c)}

    def acgan_g(self, weight: float = 1.0, minimax: bool = False) -> Terms:
        """G maximises L_C - L_S, or -log P(S = real | G) takes the place of L_S."""
        fake, of_fake = self.two_heads(self.fake(), "fake")
        return {"fake": log_chance(-fake) if minimax else -log_chance(fake),
                "class": -weight * log_likelihood(of_fake, self.c)}

    def masked(self, reals: bool) -> tuple[Tensor, Tensor]:
        """D's logits for reals and fakes of CGAN, with the masks that the game draws for them."""
        with drawn_from(self.batch.draws, self.G, self.D):
            fake = self.G(self.batch.draws.uniform("z", 100), self.c)      # in the unit hypercube
            real = self.D(self.x, self.y) if reals else fake[:, 0, 0, 0]
            return real, self.D(fake.detach() if reals else fake, self.c)

    def cgan_d(self) -> Terms:
        """Mirza & Osindero (2014), eq. 2: D ascends E log D(x | y) + E log(1 - D(G(z | y) | y))."""
        real, fake = self.masked(reals=True)
        return {"real": -log_chance(real), "fake": -log_chance(-fake)}

    def cgan_g(self, minimax: bool = False) -> Terms:
        _, fake = self.masked(reals=False)
        return {"fake": log_chance(-fake) if minimax else -log_chance(fake)}

    def cgan_r1(self) -> Terms:
        """Mescheder et al. (2018): gamma / 2 |grad D(x | y)|^2, twice because it is computed in every other update."""
        x = self.x.clone().requires_grad_()
        with drawn_from(self.batch.draws, self.G, self.D):
            slope, = torch.autograd.grad(self.D(x, self.y).sum(), x, create_graph=True)
        return {"r1": 2 * 0.1 / 2 * slope.square().sum((1, 2, 3)).mean()}

    def classes(self, images: Tensor, side: str) -> Tensor:
        """Semi-supervised D's K logits, with the noise that the game draws."""
        with drawn_from(self.batch.draws.of(side), self.D):
            return self.D(images)

    def unlabelled_fake(self, z: str) -> Tensor:
        return self.G(getattr(self.batch.draws, z)("z", self.G.latent_dim))

    def ssgan_d(self, z: str = "normal", weight: float = 1.0) -> Terms:
        """Salimans et al. (2016), section 5: L_supervised + L_unsupervised of K + 1 classes, whose last logit is 0."""
        def last(logits: Tensor) -> Tensor:
            e = torch.exp(torch.cat([logits, torch.zeros(len(logits), 1)], 1))
            return e[:, -1] / e.sum(1)

        labelled = self.batch.streams["labelled"]
        fake = last(self.classes(self.unlabelled_fake(z).detach(), "fake"))
        return {"label": -log_likelihood(self.classes(labelled.data, "labelled"), labelled.condition),
                "real": -weight * torch.log(1 - last(self.classes(self.x, "real"))).mean(),
                "fake": -weight * torch.log(fake).mean()}

    def ssgan_g(self, z: str = "normal", group: int = 4) -> Terms:
        """Section 3.1: the squared distance of mean features, per group and averaged over features."""
        means = []
        for images, side in ((self.x, "real"), (self.unlabelled_fake(z), "fake")):
            with drawn_from(self.batch.draws.of(side), self.D):
                means.append(torch.stack([part.mean(0) for part in self.D.features(images).split(group)]))
        return {"feature_matching": (means[0] - means[1]).square().mean()}

    def codes(self, categories: list[int], continuous: int) -> tuple[Tensor, list[Tensor], Tensor]:
        """InfoGAN's latent, of eight noises before the codes, and these."""
        draws = self.batch.draws
        classes = [draws.integers(f"code{i}", count) for i, count in enumerate(categories)]
        values = 2 * draws.uniform("continuous", continuous) - 1
        one_hot = [torch.eye(count)[code] for count, code in zip(categories, classes)]
        return torch.cat([draws.normal("z", 8), *one_hot, values], 1), classes, values

    def surprise(self, features: Tensor, categories: list[int], continuous: int, weight: float, fixed: bool) -> Terms:
        """Chen et al. (2016), eq. 5 without H(c): -E log Q(c | x), a softmax for each category, and a Gaussian."""
        _, classes, values = self.codes(categories, continuous)
        *logits, mean, log_deviation = self.Q(features).split([*categories, continuous, continuous], 1)
        deviation = torch.ones_like(mean) if fixed else torch.exp(log_deviation)
        density = torch.exp(-((values - mean) / deviation) ** 2 / 2) / (deviation * math.sqrt(2 * math.pi))
        return {"categories": -weight * sum(log_likelihood(own, code) for own, code in zip(logits, classes)),
                "continuous": -0.1 * torch.log(density).sum(1).mean()}

    def infogan_d(self, keys: tuple = ([5, 3], 1, 1.0, False), informed: bool = False) -> Terms:
        features = self.D.encode(self.G(self.codes(*keys[:2])[0]).detach())
        terms = {"real": -log_chance(self.D(self.x)), "fake": -log_chance(-self.D.classify(features))}
        return terms | (self.surprise(features, *keys) if informed else {})

    def infogan_g(self, keys: tuple = ([5, 3], 1, 1.0, False)) -> Terms:
        features = self.D.encode(self.G(self.codes(*keys[:2])[0]))
        return {"fake": -log_chance(self.D.classify(features))} | self.surprise(features, *keys)


FORMULAS: dict[tuple[str, str], Callable[[Published], Terms]] = {
    ("AC-GAN", "D"): partial(Published.acgan_d, fakes=0.5), ("AC-GAN", "G"): Published.acgan_g,
    ("AC-GAN of attributes", "D"): partial(Published.acgan_d, weight=0.5),
    ("AC-GAN of attributes", "G"): partial(Published.acgan_g, weight=0.5, minimax=True),
    ("AC-GAN of the paper", "D"): Published.acgan_d, ("AC-GAN of the paper", "G"): Published.acgan_g,
    ("CGAN", "D"): Published.cgan_d, ("CGAN", "G"): Published.cgan_g,
    ("CGAN with attributes and R1", "D"): Published.cgan_d,
    ("CGAN with attributes and R1", "D.r1"): Published.cgan_r1,
    ("CGAN with attributes and R1", "G"): partial(Published.cgan_g, minimax=True),
    ("semi-supervised", "D"): Published.ssgan_d, ("semi-supervised", "G"): Published.ssgan_g,
    ("semi-supervised, of the published code", "D"): partial(Published.ssgan_d, z="uniform", weight=0.5),
    ("semi-supervised, of the published code", "G"): partial(Published.ssgan_g, z="uniform", group=2),
    ("InfoGAN", "D"): Published.infogan_d, ("InfoGAN", "GQ"): Published.infogan_g,
    ("InfoGAN, Q learning with D", "D"): partial(Published.infogan_d, keys=([5], 2, 0.5, True), informed=True),
    ("InfoGAN, Q learning with D", "G"): partial(Published.infogan_g, keys=([5], 2, 0.5, True)),
}


@pytest.mark.parametrize("name, phase", FORMULAS, ids=[f"{name}, {phase}" for name, phase in FORMULAS])
def test_an_update_is_the_published_formulas(name: str, phase: str) -> None:
    game, batch = prepared(name, phase)
    published = Published(copy.deepcopy(game), batch)
    witnesses = {player: Witness(network) for player, network in game.players.items()}
    move = next(p for p in game.phases if p.name == phase)
    figures = DDPEngine(game, witnesses, ALONE, SAMPLES).update(move, batch)

    expected = FORMULAS[name, phase](published)
    for term, value in expected.items():
        assert figures[term].item() == pytest.approx(value.item(), rel=1e-5, abs=1e-6), term
    watched = ("grad_norm", "real_logit", "fake_logit", "augment", "error", "information")
    assert {term for term in figures if not term.startswith(watched)} == set(expected)
    assert {player for player, witness in witnesses.items() if hasattr(witness, "found")} == set(move.players)
    for player in move.players:
        found, network = witnesses[player].found, getattr(published, player)
        gradients = torch.autograd.grad(sum(expected.values()), list(network.parameters()), retain_graph=True,
                                        materialize_grads=True, allow_unused=True)
        whole = torch.cat([g.flatten() for g in found]).norm()
        assert whole > 1e-4
        for (parameter, _), one, other in zip(network.named_parameters(), found, gradients):
            assert (one - other).norm() <= 1e-4 * other.norm() + 1e-6 * whole, parameter


@pytest.mark.parametrize("name", CONDITIONAL)
def test_the_table_above_has_every_phase(name: str) -> None:
    assert {phase.name for phase in conditional(name)[0].phases} == {phase for of, phase in FORMULAS if of == name}


# --- closed forms ---------------------------------------------------------------------------------------------------

class Answers(nn.Module):
    """A D that gives these answers for images [N, 1], as functions of them."""

    def __init__(self, source: Callable[[Tensor], Tensor], labels: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.source, self.labels = source, labels

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.source(x), self.labels(x)


class Points(nn.Module):
    """A G of fixed points."""

    latent, latent_dim = "normal", 1

    def __init__(self, points: Tensor) -> None:
        super().__init__()
        self.points = nn.Parameter(points)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        return self.points[: len(z)]


def zero(x: Tensor) -> Tensor:
    return 0 * x[:, 0]


@pytest.mark.parametrize("labels, value", [(torch.arange(10), math.log(10)), (torch.eye(10), 10 * math.log(2))],
                         ids=["a softmax of 10 classes", "10 sigmoids, summed"])
def test_an_acgan_that_knows_nothing(labels: Tensor, value: float) -> None:
    game = ACGAN(Points(torch.ones(10, 1)), Answers(zero, lambda x: x.new_zeros(len(x), 10) + 0 * x))
    batch = Batch.of(torch.ones(10, 1), Draws(0, 0, "D", torch.arange(10)), labels, labels.flip(0))
    found = game.discriminator_loss(batch) | game.generator_loss(batch)
    expected = {"real": math.log(2), "fake": math.log(2), "real_class": value, "fake_class": value, "class": value}
    assert {name: term.item() for name, term in found.items()} == pytest.approx(expected, rel=1e-6)


def test_a_perfect_d_pushes_fakes_out_of_the_overlap_of_two_classes() -> None:
    """Classes N(-1, 1) and N(1, 1), and fakes that already have their distributions: D = 1/2 says nothing, but the
    classifier p(c = 1 | x) = s(2 x) pushes each class outwards, with 2 (1 - p(c | x))."""
    x = torch.tensor([[-0.5], [-0.5], [1.0], [1.0]])
    game = ACGAN(Points(x.clone()), Answers(zero, lambda x: torch.cat([-x, x], 1)))
    labels = torch.tensor([0, 1, 0, 1])
    sum(game.generator_loss(Batch.of(x, Draws(0, 0, "G", torch.arange(4)), labels, labels)).values()).backward()
    outwards = torch.tensor([-1.0, 1.0, -1.0, 1.0])
    chance = torch.sigmoid(outwards * 2 * x[:, 0])
    assert torch.allclose(-game.G.points.grad[:, 0] * len(x), 2 * outwards * (1 - chance))


def test_dropout_is_a_function_of_the_position() -> None:
    layer = nn.Sequential(KeyedDropout(0.25), KeyedDropout(0.25))
    x, draws = torch.ones(4096, 3), Draws(0, 0, "D", torch.arange(4096))
    with drawn_from(draws, layer):
        whole = layer(x)
    with drawn_from(draws[100:200], layer):
        assert layer(x[100:200]).equal(whole[100:200])
    with drawn_from(draws.of("other"), layer):
        assert not layer(x).equal(whole)
    assert whole.mean().item() == pytest.approx(1, abs=0.03)
    assert whole.unique().tolist() == pytest.approx([0.0, (4 / 3) ** 2])
    assert (whole == 0).float().mean().item() == pytest.approx(1 - 0.75**2, abs=0.02)     # two layers, two masks
    assert layer.eval()(x).equal(x)


# --- sizes ----------------------------------------------------------------------------------------------------------

def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_the_networks_of_acgans_appendix() -> None:
    generator = of_acgan.Generator()
    linear, convolutions = 111 * 384 * 16, (384 * 192 + 192 * 96 + 96 * 3) * 25
    assert count(generator) == linear + convolutions + 192 + 96 + 3 + 2 * (192 + 96)
    assert generator(torch.zeros(2, 100), torch.tensor([1, 2])).shape == (2, 3, 32, 32)
    discriminator = of_acgan.Classifying(of_acgan.Discriminator(), 10)
    widths = (3, 16, 32, 64, 128, 256, 512)
    convolutions = sum(9 * a * b + b for a, b in itertools.pairwise(widths))
    assert count(discriminator) == convolutions + 2 * sum(widths[2:]) + 11 * (512 * 16 + 1)
    assert [output.shape for output in discriminator.eval()(torch.zeros(2, 3, 32, 32))] == [(2,), (2, 10)]


# --- what a recipe may not say --------------------------------------------------------------------------------------

WRONG = {
    "AC-GAN without labels": (["recipe=acgan_mnist", "data.labels=none"], "acgan needs classes or attributes; set"),
    "AC-GAN of a family without features": (["recipe=acgan_mnist", "model={name: biggan}"],
                                            "does not expose; use dcgan or mlp"),
    "AC-GAN with a reference batch": (["recipe=acgan_mnist", "model.virtual_batch=8"], "leave it out"),
    "the paper's networks at another size": (["recipe=acgan_cifar10", "data.resolution=64"], "game.networks=family"),
    "the paper's networks of another width": (["recipe=acgan_cifar10", "model.width=32"],
                                              "no other keys of model than latent_dim, latent, norm_group"),
    "the paper's networks with attributes": (["recipe=acgan_cifar10", "data.labels=attributes"], "=paper needs"),
    "CGAN without labels": (["recipe=cgan_mnist", "data.labels=none"], "game.name=cgan needs classes or attributes"),
    "CGAN with another family's keys": (["recipe=cgan_mnist", "model={name: dcgan, width: 16}"],
                                        "leave out the keys of model"),
    "CGAN, compiled": (["recipe=cgan_mnist", "engine.compile=true"], "set engine.compile=false"),
    "semi-supervised attributes": (["recipe=ssgan_mnist", "data.labels=attributes"], "set data.labels=class or none"),
    "semi-supervised without labels": (["recipe=ssgan_mnist", "streams.labelled.labels=none"],
                                       "set streams.labelled.labels=class"),
    "semi-supervised with another family's keys": (["recipe=ssgan_mnist", "model={name: mlp}"],
                                                   "leave them out, or set game.networks=family"),
    "semi-supervised, nothing to normalise by": (["recipe=ssgan_mnist", "game.group=1"], "set 2 or more"),
    "all units dropped": (["recipe=cgan_mnist", "game.dropout=1"], "less than 1"),
    "semi-supervised, compiled": (["recipe=ssgan_mnist", "engine.compile=true"], "set engine.compile=false"),
    "semi-supervised of a family without features": (
        ["recipe=ssgan_mnist", "game.networks=family", "model={name: biggan}"], "does not expose; use dcgan or mlp"),
    "momentum of one": (["recipe=cgan_mnist", "optimizer.G={name: sgd, momentum: {start: 0.5, end: 1, images: 9}}"],
                        "not below 1"),
    "Adam with momentum": (["recipe=cgan_mnist", "optimizer.G.momentum=0.9"], "applies only to name=sgd, not adam"),
    "a geometric schedule from zero": (["recipe=cgan_mnist", "optimizer.G.lr={kind: exponential, start: 0, end: 1, "
                                        "images: 9}"], "has a start and an end above 0"),
    "the paper's networks, compiled": (["recipe=acgan_cifar10", "engine.compile=true"], "set engine.compile=false"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_recipe_that_cannot_work_is_refused_in_one_line(case: str) -> None:
    arguments, remedy = WRONG[case]
    with pytest.raises(RecipeError) as refusal:
        loading.load(arguments)
    assert remedy in str(refusal.value) and "\n" not in str(refusal.value)


def test_labels_of_another_kind_are_named_with_a_remedy(tiny_set: Path, tmp_path: Path) -> None:
    (code, message), = ends(1, "recipe=acgan_mnist", f"data.path={tiny_set}", "data.resolution=16",
                            "data.labels=attributes", "data.workers=0", f"run_dir={tmp_path / 'run'}")
    assert code == 2 and "\n" not in message.strip() and "set data.labels=class" in message
