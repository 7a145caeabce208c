"""pix2pix and colorization: one update against the papers' formulas, closed forms, and what they refuse."""

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path

import harness
import pytest
import torch
from PIL import Image
from small_games import SAMPLES, Witness, batch_for
from torch import Tensor
from torch.nn.functional import avg_pool2d, softplus

import scalegan
from scalegan.checkpoints import exports
from scalegan.config import loading
from scalegan.config.game import streams_of
from scalegan.data.colour import rgb_to_lab
from scalegan.data.spec import Spec
from scalegan.engines.ddp import DDPEngine
from scalegan.engines.ranks import Ranks
from scalegan.errors import RecipeError
from scalegan.games.base import Batch
from scalegan.games.pix2pix.game import Pix2Pix
from scalegan.games.pix2pix.lab import Colourised, chroma
from scalegan.models.layers.dropout import drawn_from
from scalegan.randomness import Draws, parameter_generators
from scalegan.training import build

Terms = dict[str, Tensor]
UNET = {"name": "unet", "width": 2, "d_width": 4, "d_layers": 2}
GAMES: dict[str, tuple[dict, dict]] = {
    "pix2pix": ({"name": "pix2pix"}, UNET),
    "pix2pix with two scales and feature matching": (
        {"name": "pix2pix", "loss": "least_squares", "feature_matching": 10.0, "pixel": "l2", "pixel_weight": 3.0},
        {**UNET, "d_scales": 2}),
    "ResNet, relativistic, from edges": ({"name": "pix2pix", "input": "edges", "loss": "relativistic", "pixel": "none"},
                                         {**UNET, "name": "resnet_i2i", "blocks": 1}),
    "LSGAN in LAB": ({"name": "colorization"}, UNET),
    "EBGAN in LAB": ({"name": "colorization", "loss": "ebgan", "margin": 0.195}, UNET),
    "regression in LAB": ({"name": "colorization", "adversarial_weight": 0, "pixel": "l2", "pixel_weight": 2.0}, UNET),
    "WGAN-GP in LAB": ({"name": "colorization", "loss": "wgan_gp"}, UNET),
    "LSGAN with Fabbri's networks": ({"name": "colorization"}, {**UNET, "name": "fabbri"}),
}


def made(name: str) -> tuple[Pix2Pix, dict[str, Spec]]:
    """One of the games at 32 px with weights that are not small, and the specs of its streams."""
    game, model = GAMES[name]
    streams = {"input": {"path": "-"}} if game == {**game, "name": "pix2pix"} and "input" not in game else {}
    recipe = loading.parse({"run_dir": "-", "total_images": 1, "data": {"path": "-", "resolution": 32}, "model": model,
                            "game": game, "streams": streams, "optimizer": {"default": {}}}, "test")
    specs = {stream: Spec("image", (3, 32, 32)) for stream in streams_of(recipe)}
    found = build.game(recipe, specs)
    for player, network in found.players.items():
        network.initialise(parameter_generators(1, player))
        for parameter in network.parameters():
            parameter.data *= 5
    return found, specs


class Published:
    """Losses of one batch: networks and draws are the game's, everything else is written out."""

    def __init__(self, game: Pix2Pix, batch: Batch) -> None:
        self.G, self.D, self.batch = game.G, game.D, batch
        images = batch.streams["target"].data
        if game.source == "paired":
            self.x, self.y = batch.streams["input"].data, images
        elif game.source == "lightness":
            lab = rgb_to_lab((images + 1) / 2)
            self.x, self.y = lab[:, :1] / 50 - 1, lab[:, 1:] / 110
        else:
            self.x, self.y = game.pair(batch.streams)

    def answer(self) -> Tensor:
        with drawn_from(self.batch.draws, self.G):
            return self.G(self.x)

    def judged(self, y: Tensor, scales: int = 1) -> list[Tensor]:
        """Logits of the pair, from each network on images that are halved for the next."""
        pair, found = torch.cat([self.x, y], 1), []
        for patches in self.D.scales[:scales]:
            h = pair
            for stage in patches.stages:
                h = stage(h)
            found.append(patches.head(h))
            pair = avg_pool2d(pair, 3, 2, 1, count_include_pad=False)
        return found

    def energy(self, y: Tensor) -> Tensor:
        """Mean squared error of D's reconstruction."""
        return (self.D.decoder(self.D.encoder(y)) - y).square().mean((1, 2, 3))

    def pixels(self, weight: float, power: int = 1) -> Tensor:
        return weight * (self.answer() - self.y).abs().pow(power).mean()

    def d_cross_entropy(self) -> Terms:
        """Half of -E log D(x, y) - E log(1 - D(x, G(x))) (section 3.3)."""
        (real,), (fake,) = self.judged(self.y), self.judged(self.answer().detach())
        return {"real": -torch.log(torch.sigmoid(real)).mean() / 2,
                "fake": -torch.log(1 - torch.sigmoid(fake)).mean() / 2}

    def g_cross_entropy(self) -> Terms:
        fake, = self.judged(self.answer())
        return {"fake": -torch.log(torch.sigmoid(fake)).mean(), "pixel": self.pixels(100.0)}

    def d_squares(self, scales: int) -> Terms:
        pairs = list(zip(self.judged(self.y, scales), self.judged(self.answer().detach(), scales)))
        return {"real": sum(0.25 * (real - 1).square().mean() for real, _ in pairs),
                "fake": sum(0.25 * fake.square().mean() for _, fake in pairs)}

    def g_squares(self, scales: int, weight: float, power: int) -> Terms:
        return {"fake": sum(0.5 * (fake - 1).square().mean() for fake in self.judged(self.answer(), scales)),
                "pixel": self.pixels(weight, power)}

    def g_matching(self) -> Terms:
        """Wang et al. (2018), eq. 4: mean absolute differences of D's features, averaged over its layers."""
        total, pair = 0.0, [torch.cat([self.x, y], 1) for y in (self.answer(), self.y)]
        for patches in self.D.scales:
            h, differences = pair, []
            for stage in patches.stages:
                h = [stage(each) for each in h]
                differences.append((h[0] - h[1].detach()).abs().mean())
            total = total + sum(differences) / len(differences)
            pair = [avg_pool2d(each, 3, 2, 1, count_include_pad=False) for each in pair]
        return {**self.g_squares(2, 3.0, 2), "feature_matching": 10 * total}

    def d_relativistic(self) -> Terms:
        (real,), (fake,) = self.judged(self.y), self.judged(self.answer().detach())
        return {"pair": softplus(fake - real).mean() / 2}

    def g_relativistic(self) -> Terms:
        (real,), (fake,) = self.judged(self.y), self.judged(self.answer())
        return {"pair": softplus(real - fake).mean()}

    def d_energy(self) -> Terms:
        """D(x) + max(0, m - D(G)), halved as all losses of D."""
        return {"real": self.energy(self.y).mean() / 2,
                "fake": (0.195 - self.energy(self.answer().detach())).clamp(min=0).mean() / 2}

    def g_energy(self) -> Terms:
        return {"fake": self.energy(self.answer()).mean(), "pixel": self.pixels(100.0)}

    def g_regression(self) -> Terms:
        return {"pixel": self.pixels(2.0, 2)}

    def d_wasserstein(self) -> Terms:
        answer = self.answer().detach()
        (real,), (fake,) = self.judged(self.y), self.judged(answer)
        share = self.batch.draws.uniform("between").view(-1, 1, 1, 1)
        points = (share * self.y + (1 - share) * answer).requires_grad_()
        slope = torch.autograd.grad(self.judged(points)[0].mean((1, 2, 3)).sum(), points, create_graph=True)[0]
        penalty = 10 * (slope.flatten(1).norm(dim=1) - 1).square().mean()
        return {"real": -real.mean() / 2, "fake": fake.mean() / 2, "gradient_penalty": penalty / 2}

    def g_wasserstein(self) -> Terms:
        return {"fake": -self.judged(self.answer())[0].mean(), "pixel": self.pixels(100.0)}


FORMULAS: dict[tuple[str, str], Callable[[Published], Terms]] = {
    ("pix2pix", "D"): Published.d_cross_entropy, ("pix2pix", "G"): Published.g_cross_entropy,
    ("pix2pix with two scales and feature matching", "D"): partial(Published.d_squares, scales=2),
    ("pix2pix with two scales and feature matching", "G"): Published.g_matching,
    ("ResNet, relativistic, from edges", "D"): Published.d_relativistic,
    ("ResNet, relativistic, from edges", "G"): Published.g_relativistic,
    ("LSGAN in LAB", "D"): partial(Published.d_squares, scales=1),
    ("LSGAN in LAB", "G"): partial(Published.g_squares, scales=1, weight=100.0, power=1),
    ("EBGAN in LAB", "D"): Published.d_energy, ("EBGAN in LAB", "G"): Published.g_energy,
    ("regression in LAB", "G"): Published.g_regression,
    ("LSGAN with Fabbri's networks", "D"): partial(Published.d_squares, scales=1),
    ("LSGAN with Fabbri's networks", "G"): partial(Published.g_squares, scales=1, weight=100.0, power=1),
    ("WGAN-GP in LAB", "D"): Published.d_wasserstein, ("WGAN-GP in LAB", "G"): Published.g_wasserstein,
}


@pytest.mark.parametrize("name, phase", FORMULAS, ids=[f"{name}, {phase}" for name, phase in FORMULAS])
def test_an_update_is_the_published_formulas(name: str, phase: str) -> None:
    game, specs = made(name)
    batch = batch_for(specs, Draws(3, 0, "D", torch.arange(SAMPLES)))
    published = Published(copy.deepcopy(game), batch)
    witnesses = {player: Witness(network) for player, network in game.players.items()}
    move = next(p for p in game.phases if p.name == phase)
    figures = DDPEngine(game, witnesses, Ranks(0, 1, torch.device("cpu")), SAMPLES).update(move, batch)

    expected = FORMULAS[name, phase](published)
    mover = getattr(published, phase)
    gradients = torch.autograd.grad(sum(expected.values()), list(mover.parameters()), allow_unused=True)
    for term, value in expected.items():
        assert figures[term].item() == pytest.approx(value.item(), rel=1e-5, abs=1e-6), term
    assert {term for term in figures if not term.startswith(("grad_norm", "real_logit", "fake_logit"))} == set(expected)
    found = witnesses[phase].found
    whole = torch.cat([g.flatten() for g in found]).norm()
    assert whole > 1e-4
    for (parameter, _), one, other in zip(mover.named_parameters(), found, gradients):
        other = torch.zeros_like(one) if other is None else other
        assert (one - other).norm() <= 1e-4 * other.norm() + 2e-6 * whole, parameter


def test_the_table_above_has_every_phase() -> None:
    assert set(FORMULAS) == {(name, phase.name) for name in GAMES for phase in made(name)[0].phases}


# --- properties -----------------------------------------------------------------------------------------------------

def test_both_phases_judge_the_same_answer_and_no_other_sample_changes_it() -> None:
    """Dropout's masks are those of a sample's position, in D's phase as in G's."""
    game, specs = made("pix2pix")
    batch = batch_for(specs, Draws(3, 0, "D", torch.arange(SAMPLES)))
    x = batch.streams["input"].data
    whole = game.answer(x, batch)
    assert torch.equal(whole, game.answer(x, batch))
    part = slice(2, 4)
    torch.testing.assert_close(game.answer(x[part], batch[part]), whole[part], atol=1e-5, rtol=1e-4)
    other = batch_for(specs, Draws(3, 0, "D", torch.arange(SAMPLES) + SAMPLES))
    assert not torch.allclose(game.answer(x, other), whole, atol=1e-2)
    assert [phase.draws for phase in game.phases if phase.name == "G"] == ["D"]


def test_a_colourised_photo_keeps_its_lightness_whatever_the_colours() -> None:
    class Wild(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([torch.sin(9 * x), torch.cos(7 * x)], 1)

    lightness = torch.linspace(-0.99, 0.99, 256).view(1, 1, 16, 16)
    rgb = Colourised(Wild())(lightness)
    assert rgb.abs().max() <= 1
    torch.testing.assert_close(rgb_to_lab((rgb + 1) / 2)[:, :1] / 50 - 1, lightness, atol=1e-3, rtol=0)


def test_the_true_colours_give_the_photo_back() -> None:
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1

    class Truth(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return chroma(images)

    lightness = rgb_to_lab((images + 1) / 2)[:, :1] / 50 - 1
    torch.testing.assert_close(Colourised(Truth())(lightness), images, atol=2e-3, rtol=0)


# --- runs -----------------------------------------------------------------------------------------------------------

RUN = """# From image to image, in small
data: {{path: "{data}/a", resolution: 32, labels: none, workers: 0, block_records: 8, window_blocks: 4}}
model: {{width: 2, d_width: 2, d_layers: 2, {network}}}
game: {game}
""" + harness.SHORT_RUN
RUNS = {
    "paired": ("name: unet, norm: batch", "{name: pix2pix}\nstreams: "
               '{input: {path: "DATA/b", resolution: 32, block_records: 8, window_blocks: 4}}'),
    "colorization by a critic": ("name: unet", "{name: colorization, loss: wasserstein_clip, updates: {D: 2}}"),
    "colorization with Fabbri's networks": ("name: fabbri", "{name: colorization}"),
}


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sets with the same keys."""
    folder = tmp_path_factory.mktemp("pairs")
    for name in "ab":
        harness.make_set(folder / name, (24, 24, 16), "png", 32)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_four_ranks_and_a_restart_change_no_bit(name: str, sets: Path, tmp_path: Path) -> None:
    network, game = RUNS[name]
    recipe = tmp_path / "pairs.yaml"
    recipe.write_text(RUN.format(data=sets, network=network, game=game.replace("DATA", str(sets))))
    harness.launch(1, f"recipe={recipe}", f"run_dir={tmp_path / 'straight'}")
    harness.launch(4, f"recipe={recipe}", f"run_dir={tmp_path / 'moved'}", "total_images=160")
    harness.launch(2, f"recipe={recipe}", f"run_dir={tmp_path / 'moved'}")
    assert harness.digest(tmp_path / "moved") == harness.digest(tmp_path / "straight")
    assert harness.reports(tmp_path / "moved")[-1] == harness.reports(tmp_path / "straight")[-1]

    network, x = scalegan.load(tmp_path / "straight"), torch.rand(3, 3 if name == "paired" else 1, 40, 50) * 2 - 1
    exports.save(exports.load_all(tmp_path / "straight"), tmp_path / "g.safetensors")
    answer = network(x)
    assert answer.shape == (3, 3, 40, 50) and torch.equal(answer, scalegan.load(tmp_path / "g.safetensors")(x))
    torch.testing.assert_close(network(x[1:2]), answer[1:2], atol=1e-5, rtol=1e-4)
    picture = Image.open(tmp_path / "straight" / "samples" / "000000000320.png")
    assert picture.size == (2 * (3 * 34 + 2), 12 + 2 * (6 * 34 + 2))     # six rows of input, answer and target


# --- what they refuse -----------------------------------------------------------------------------------------------

RECIPE = {"run_dir": "-", "total_images": 1, "data": {"path": "-", "resolution": 32}, "optimizer": {"default": {}},
          "model": UNET, "game": {"name": "colorization"}}


@pytest.mark.parametrize("keys, said", [
    ({"model": {"name": "dcgan"}}, "set model.name=unet or resnet_i2i"),
    ({"model": {"name": "rrdb"}}, "is what `scalegan convert` makes of published weights"),
    ({"data": {**RECIPE["data"], "labels": "class"}}, "set data.labels=none"),
    ({"augment": {"name": "ada"}}, "set augment.name=none"),
    ({"game": {"name": "colorization", "clip": 0.1}}, "game.loss=wasserstein_clip"),
    ({"game": {"name": "colorization", "margin": 0.1}}, "game.margin applies only to game.loss=ebgan"),
    ({"game": {"name": "colorization", "gradient_penalty": 1}}, "game.gradient_penalty applies only to game.loss=wgan"),
    ({"model": {**UNET, "d_layers": 4}}, "less than 3 x 3 features for D's last layers"),
    ({"model": {**UNET, "d_scales": 3}}, "less than 3 x 3 features for D's last layers"),
    ({"model": {**UNET, "dropout": 1}}, "model.dropout=1"),
    ({"game": {"name": "pix2pix", "loss": "ebgan", "feature_matching": 10, "input": "grey"}}, "leave it out"),
    ({"game": {"name": "colorization", "adversarial_weight": 0, "pixel": "none"}}, "nothing to learn from"),
    ({"game": {"name": "pix2pix"}}, "streams.input"),
    ({"game": {"name": "gan"}}, "use game.name=pix2pix, or another model.name"),
    ({"model": {**UNET, "norm": "batch", "norm_group": 3}, "batch_size": 8, "micro_batch_size": 4},
     "model.norm_group=3"),
    ({"model": {"name": "fabbri"}, "batch_size": 8, "micro_batch_size": 2}, "model.norm_group=4"),
    ({"model": {"name": "fabbri", "norm_group": 1}}, "model.norm_group"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_what_cannot_work_is_refused_in_a_line(keys: dict, said: str) -> None:
    from scalegan.config.ranks import check_world

    with pytest.raises(RecipeError) as raised:
        check_world(loading.parse({**RECIPE, **keys}, "test"), 1)
    assert said in str(raised.value) and len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize("keys, specs, said", [
    ({}, {"target": (1, 32, 32)}, "grey"),
    ({}, {"target": (3, 16, 16)}, "data.resolution=32 or more"),
    ({"model": {"name": "fabbri"}}, {"target": (3, 16, 16)}, "data.resolution=32 or more"),
    ({"game": {"name": "pix2pix"}, "streams": {"input": {"path": "-"}}},
     {"target": (3, 32, 32), "input": (3, 64, 64)}, "prepare both at one size"),
])
def test_images_that_do_not_fit_are_refused_in_a_line(keys: dict, specs: dict, said: str) -> None:
    recipe = loading.parse({**RECIPE, **keys}, "test")
    with pytest.raises(RecipeError) as raised:
        build.game(recipe, {name: Spec("image", shape) for name, shape in specs.items()})
    assert said in str(raised.value) and len(str(raised.value).splitlines()) == 1
