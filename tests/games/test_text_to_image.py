"""Text to image: updates against formulas written apart, what D sees, closed forms, and what cannot work."""

import copy
import math

import pytest
import torch
from small_games import SAMPLES, TEXTS, Witness, batch_for, leave_zero, texts
from torch import Tensor, nn

from scalegan.config import loading
from scalegan.engines.ddp import DDPEngine
from scalegan.engines.ranks import Ranks
from scalegan.errors import RecipeError
from scalegan.games import lookup
from scalegan.games.base import Batch, Sample
from scalegan.games.text_to_image.game import TextToImage
from scalegan.losses import LOSSES
from scalegan.randomness import Draws

LN2 = math.log(2)
Terms = dict[str, Tensor]


class Published:
    """The losses of one batch, from copies of the networks.

    Args:
        game: the game, not yet updated.
        batch: images with their texts, and other texts for mismatched pairs.
    """

    def __init__(self, game: TextToImage, batch: Batch) -> None:
        self.game, self.x, self.own, self.other = game, batch.reals, batch.labels, batch.given["real"]
        self.draws = batch.draws

    def fake(self, texts: Tensor, draws: Draws) -> Tensor:
        game = self.game
        if not game.divergence:
            return game.G(draws.normal("z", game.G.latent_dim), texts)
        mu, log_variance = self.gaussian(texts)
        condition = mu + torch.exp(log_variance) ** 0.5 * draws.normal("text", mu.shape[1])
        return game.G.generator(draws.normal("z", game.G.generator.latent_dim), condition)

    def gaussian(self, texts: Tensor) -> tuple[Tensor, Tensor]:
        weight, bias = self.game.G.projection.parameters()
        both = texts @ weight.T + bias
        both = torch.where(both > 0, both, 0.2 * both)
        return both[:, : both.shape[1] // 2], both[:, both.shape[1] // 2 :]

    def real(self, x: Tensor, texts: Tensor) -> Tensor:
        """D(x, t), a probability."""
        return torch.sigmoid(self.game.D(x, texts))

    def d(self) -> Terms:
        fake = self.fake(self.own, self.draws).detach()
        terms = {"real": -torch.log(self.real(self.x, self.own)).mean()}
        if not self.game.matching_aware:
            return terms | {"fake": -torch.log(1 - self.real(fake, self.own)).mean()}
        return terms | {"mismatched": -0.5 * torch.log(1 - self.real(self.x, self.other)).mean(),
                        "fake": -0.5 * torch.log(1 - self.real(fake, self.own)).mean()}

    def g(self) -> Terms:
        """A mean over a batch of texts and half as many interpolated ones: N + N / 2 samples."""
        of_texts = -torch.log(self.real(self.fake(self.own, self.draws), self.own))
        if not self.game.interpolated:
            return {"fake": of_texts.mean()}
        between = (self.own + self.other) / 2
        of_between = -torch.log(self.real(self.fake(between, self.draws.of("interpolated")), between))
        samples = len(self.own) + len(self.own) / 2
        return {"fake": of_texts.sum() / samples, "interpolated": 0.5 * of_between.sum() / samples}

    def augmented_g(self) -> Terms:
        mu, log_variance = self.gaussian(self.own)
        normal = torch.distributions.Normal(mu, log_variance.exp().sqrt())
        standard = torch.distributions.Normal(torch.zeros_like(mu), torch.ones_like(mu))
        return self.g() | {"text_divergence": 2 * torch.distributions.kl_divergence(normal, standard).mean()}

    def pairs_d(self) -> Terms:
        real, fake = self.game.D(self.x, self.own), self.game.D(self.fake(self.own, self.draws).detach(), self.own)
        mismatched = self.game.D(self.x, self.other)
        return {"pair": -0.5 * torch.log(torch.sigmoid(real - fake)).mean(),
                "mismatched": -0.5 * torch.log(torch.sigmoid(real - mismatched)).mean()}


@pytest.mark.parametrize("name, phase, terms", [
    ("text to image", "D", Published.d), ("text to image", "G", Published.g),
    ("with conditioning augmentation", "D", Published.d),
    ("with conditioning augmentation", "G", Published.augmented_g),
    ("neither mismatched nor interpolated", "D", Published.d),
    ("neither mismatched nor interpolated", "G", Published.g),
    ("of R3GAN", "D", Published.pairs_d),
])
def test_an_update_is_that_of_the_paper(name: str, phase: str, terms) -> None:
    game, specs = texts(name)
    leave_zero(game)
    batch = batch_for(specs, Draws(3, 0, phase, torch.arange(SAMPLES)))
    published = Published(copy.deepcopy(game), batch)
    witnesses = {player: Witness(network) for player, network in game.players.items()}
    move = next(one for one in game.phases if one.name == phase)
    figures = DDPEngine(game, witnesses, Ranks(0, 1, torch.device("cpu")), SAMPLES).update(move, batch)
    expected = terms(published)
    assert {name: figures[name].item() for name in expected} == \
        pytest.approx({name: term.item() for name, term in expected.items()}, rel=1e-4)
    weights = list(published.game.players[phase].parameters())
    if name == "of R3GAN":
        return                                          # its gradients have penalties, too
    gradients = torch.autograd.grad(sum(expected.values()), weights)
    whole = torch.cat([gradient.flatten() for gradient in gradients]).norm()
    assert whole > 1e-3 and all((one - other).norm() <= 1e-4 * other.norm() + 1e-6 * whole
                                for one, other in zip(witnesses[phase].found, gradients, strict=True))


class Witnessed(nn.Module):
    """A discriminator that keeps the texts it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.texts, self.bias = [], nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, texts: Tensor) -> Tensor:
        self.texts.append(texts)
        return x.flatten(1).sum(1) * 0 + self.bias


class Texts(nn.Module):
    """A generator of its text's first entry, z added."""

    latent_dim, latent = 1, "normal"

    def __init__(self, noise: float = 1.0) -> None:
        super().__init__()
        self.noise = noise

    def forward(self, z: Tensor, texts: Tensor) -> Tensor:
        return texts[:, :1] + self.noise * z


def test_d_sees_a_real_with_its_own_and_with_anothers_text_and_a_fake_with_its_own() -> None:
    discriminator, table = Witnessed(), torch.eye(4)
    game = TextToImage(Texts(), discriminator, LOSSES["non_saturating"])
    records = torch.arange(64) % 4
    batch = Batch({"real": Sample(torch.zeros(64, 1), table[records])}, Draws(0, 0, "D", torch.arange(64)),
                  {"real": table})
    terms = game.discriminator_loss(batch)
    own, of_fakes, mismatched = discriminator.texts
    assert own.equal(table[records]) and of_fakes.equal(own)
    assert not (mismatched == own).all(1).any() and (mismatched.sum(0) > 8).all()
    assert sum(terms.values()).item() == pytest.approx(2 * LN2)             # an undecided D: 1.3863
    assert [game.generator_loss(batch)[name].item() for name in ("fake", "interpolated")] == \
        pytest.approx([LN2 * 2 / 3, LN2 / 3])
    between = discriminator.texts[-1]
    assert (between.sum(1) == 1).all() and ((between == 0.5).sum(1) == 2).any()


class Table(nn.Module):
    """A discriminator with a logit for each pair of an image, 0 or 1, and a text, a row of the unit matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(2, 2))

    def forward(self, x: Tensor, texts: Tensor) -> Tensor:
        return self.logits[x[:, 0].round().long(), texts.argmax(1)]


FIRST, SECOND = torch.eye(2)


@pytest.mark.parametrize("images, own, other, on_real_pairs, on_wrong_pairs", [
    ([1, 0], [FIRST, SECOND], [SECOND, FIRST], 2 / 3, 0.0),
    ([1, 0, 1, 0], [FIRST, FIRST, SECOND, SECOND], [SECOND, FIRST, FIRST, SECOND], 1 / 2, 1 / 2),
], ids=["a perfect G, and texts that tell images apart", "texts that say nothing of the image"])
def test_the_best_d_is_that_of_the_closed_form(images: list[int], own: list[Tensor], other: list[Tensor],
                                               on_real_pairs: float, on_wrong_pairs: float) -> None:
    """D* = p_real / (p_real + p_mismatched / 2 + p_fake / 2)."""
    x, texts = torch.tensor(images, dtype=torch.float32)[:, None], torch.stack(own)
    game = TextToImage(Texts(0.0), Table(), LOSSES["non_saturating"])
    game.fakes_of = lambda generator, batch, condition: x.clone()           # fakes are as the reals
    batch = Batch.of(x, Draws(0, 0, "D", torch.arange(len(x))), texts, torch.stack(other))
    optimizer = torch.optim.SGD(game.D.parameters(), lr=4.0)
    for _ in range(300):
        optimizer.zero_grad()
        sum(game.discriminator_loss(batch).values()).backward()
        optimizer.step()
    best = torch.sigmoid(game.D.logits)
    assert best[1, 0].item() == pytest.approx(on_real_pairs, abs=0.02)
    assert best[0, 0].item() == pytest.approx(on_wrong_pairs, abs=0.02)


KEYS = {"run_dir": "-", "total_images": 1, "data": {"path": "-", "resolution": 32, "labels": "vectors"},
        "model": {"name": "text_dcgan"}, "optimizer": {"default": {}}, "game": {"name": "text_to_image"}}


@pytest.mark.parametrize("keys, message", [
    ({"data": {**KEYS["data"], "labels": "class"}}, "needs texts as vectors; prepare the data with --captions, and set "
                                                    "data.labels=vectors"),
    ({"data": {**KEYS["data"], "resolution": 256}}, "data.resolution=256: text_dcgan supports 16, 32, 64, 128"),
    ({"model": {"name": "text_dcgan", "norm_group": 24}, "batch_size": 64}, "norm_group=24 does not divide"),
    ({"model": {"name": "stylegan2"}, "game": {"name": "text_to_image", "conditioning_augmentation": {}}},
     "maps it to styles first; leave it out"),
    ({"game": {"name": "text_to_image", "interpolated": 0, "beta": 0.3}}, "set game.interpolated, or leave it out"),
    ({"game": {"name": "cgan"}, "model": {"name": "dcgan"}}, "game.name=cgan needs classes or attributes"),
    ({"game": {"name": "acgan"}, "model": {"name": "dcgan"}}, "game.name=acgan needs classes or attributes"),
    ({"game": {"name": "stargan"}, "model": {"name": "stargan"}}, "game.name=stargan needs classes or attributes"),
])
def test_what_cannot_work_is_said_before_anything_is_loaded(keys: dict, message: str) -> None:
    with pytest.raises(RecipeError) as error:
        loading.parse({**KEYS, **keys}, "test")
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_network_for_texts_says_what_it_needs() -> None:
    recipe, specs = loading.parse(KEYS, "test"), TEXTS["text to image"][1]
    unlabelled = {"real": type(specs["real"])("image", (3, 32, 32))}
    with pytest.raises(RecipeError, match=r"have no vectors that describe them; set data\.labels=vectors"):
        lookup.game_of("text_to_image").make(recipe, unlabelled)
    game, specs = texts("with conditioning augmentation")
    for network, x in ((game.G, torch.zeros(2, game.G.latent_dim)), (game.D, torch.zeros(2, *specs["real"].shape))):
        with pytest.raises(ValueError, match=r"a vector for each image, \[2, 7\], not torch.int64 \[2\]"):
            network(x, torch.zeros(2, dtype=torch.long))
