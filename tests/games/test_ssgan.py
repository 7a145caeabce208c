"""Semi-supervised GAN: closed forms, the published networks, runs with two streams, and the error on test images."""

import json
import math
from itertools import pairwise
from pathlib import Path

import harness
import pytest
import torch
from small_games import CLASSES, SAMPLES, batch_for, conditional

import scalegan
from scalegan.data.spec import Spec
from scalegan.errors import RecipeError
from scalegan.games.base import Batch, Sample
from scalegan.games.labelled import classes_of
from scalegan.games.ssgan import networks
from scalegan.models.layers.dropout import drawn_from
from scalegan.models.layers.noise import KeyedNoise
from scalegan.randomness import Draws
from tools import class_error

DRAWS = Draws(3, 0, "D", torch.arange(SAMPLES))


def test_a_d_that_knows_nothing() -> None:
    """Zero logits: K + 1 equal classes, of which one is that of fakes."""
    game, specs = conditional("semi-supervised, of the published code")
    for parameter in game.D.head.parameters():
        parameter.data.zero_()
    terms = game.discriminator_loss(batch_for(specs, DRAWS))
    assert terms["label"].item() == pytest.approx(math.log(CLASSES))
    assert terms["real"].item() == pytest.approx(0.5 * math.log((CLASSES + 1) / CLASSES))
    assert terms["fake"].item() == pytest.approx(0.5 * math.log(CLASSES + 1))


def test_realness_is_one_minus_the_chance_of_the_last_class() -> None:
    logits = 30 * torch.randn(1000, 4)
    of_all = torch.cat([logits, torch.zeros(1000, 1)], 1).double().softmax(1)
    torch.testing.assert_close(networks.realness(logits).double().sigmoid(), 1 - of_all[:, -1], atol=1e-5, rtol=1e-5)
    shifted = logits + torch.linspace(-5, 5, 1000)[:, None]     # says nothing of the classes, all of realness
    torch.testing.assert_close(shifted.softmax(1), logits.softmax(1), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(networks.realness(shifted) - networks.realness(logits), torch.linspace(-5, 5, 1000),
                               atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["semi-supervised", "semi-supervised, of the published code"])
def test_fakes_with_the_features_of_reals_leave_g_nothing_to_do(name: str) -> None:
    torch.manual_seed(0)        # rounding depends on the weights
    game, specs = conditional(name)
    batch = batch_for(specs, DRAWS)
    alike = Batch({**batch.streams, "real": Sample(game.G(game.G.latent(DRAWS) if callable(game.G.latent) else
                                                          DRAWS.normal("z", game.G.latent_dim)).detach())}, DRAWS)
    game.eval()         # without noise
    game.G.train()
    assert game.generator_loss(alike)["feature_matching"].item() < 1e-8
    assert game.generator_loss(batch)["feature_matching"].item() > 1e-5


def test_classes_of_the_unlabelled_images_are_only_counted() -> None:
    game, specs = conditional("semi-supervised")
    batch = batch_for(specs, DRAWS)
    without = Batch({**batch.streams, "real": Sample(batch.reals)}, batch.draws)
    for phase in game.phases:
        assert phase.loss(batch) == phase.loss(without)
    assert 0 <= batch.figures["error"] <= 1 and "error" not in without.figures


def test_the_published_networks_for_digits() -> None:
    """Layers of 1,000, 500, 250, 250, 250 and 10 with biases, the last with gains; 500, 500, 784 without BatchNorm
    gains. Rows of weights have a length of their own, whatever is learnt."""
    generator, discriminator = networks.Generator((1, 28, 28)), networks.Discriminator((1, 28, 28), 10)
    widths = [784, 1000, 500, 250, 250, 250, 10]
    assert sum(p.numel() for p in discriminator.parameters()) == 10 + sum(a * b + b for a, b in pairwise(widths))
    assert sum(p.numel() for p in generator.parameters()) == 100 * 500 + 500 + 500 * 500 + 500 + 500 * 784 + 2 * 784
    x = generator(generator.latent(Draws(0, 0, "G", torch.arange(50))))
    assert x.shape == (50, 1, 28, 28) and x.abs().max() <= 1
    before = discriminator.eval()(x)
    for layer in discriminator.modules():
        if isinstance(layer, networks.WeightNormed):
            layer.weight.data *= 7
    torch.testing.assert_close(discriminator(x), before, rtol=1e-4, atol=1e-5)
    with drawn_from(Draws(0, 0, "D", torch.arange(50)), discriminator.train()):
        assert discriminator(x).sub(before).abs().max() > 0.01
    with pytest.raises(RuntimeError, match="drawn_from"):       # a draw that no run could repeat
        discriminator(x)


def test_activations_of_digits_start_at_a_deviation_near_one() -> None:
    """As the published code arranges by measuring them; pixels here have the mean square of MNIST's, 0.1."""
    torch.manual_seed(0)
    x = 2 * (torch.rand(500, 1, 28, 28) < 0.1) - 1.0
    found = []
    discriminator = networks.Discriminator((1, 28, 28), 10)
    for layer in discriminator.modules():
        if isinstance(layer, networks.WeightNormed) and layer.gain is None:
            layer.register_forward_hook(lambda layer, x, out: found.append(out.std().item()))
    with drawn_from(Draws(0, 0, "D", torch.arange(500)), discriminator):
        discriminator(x)
    assert len(found) == 5 and all(0.5 < deviation < 2 for deviation in found)


def test_noise_is_a_function_of_the_position() -> None:
    layer, x, draws = KeyedNoise(0.5), torch.zeros(4096, 3), Draws(0, 0, "D", torch.arange(4096))
    with drawn_from(draws, layer):
        first, second = layer(x), layer(x)
    with drawn_from(draws[100:200], layer):
        assert layer(x[100:200]).equal(first[100:200])
    assert first.std().item() == pytest.approx(0.5, abs=0.02) and not first.equal(second)
    assert layer.eval()(x).equal(x)


@pytest.mark.parametrize("labelled, said", [
    (Spec("image", (1, 32, 32), classes=4), "those of streams.labelled [1, 32, 32]"),
    (Spec("image", (1, 28, 28), classes=5), "data has 4 classes, streams.labelled 5")])
def test_streams_that_do_not_fit_each_other(labelled: Spec, said: str) -> None:
    with pytest.raises(RecipeError, match=said.replace("[", r"\[")):
        classes_of({"real": Spec("image", (1, 28, 28), classes=4), "labelled": labelled})


# --- runs -------------------------------------------------------------------------------------------------------------

RECIPE = """
data: {{path: "{data}", resolution: 16, labels: class, workers: 0, block_records: 8, window_blocks: 4}}
streams:
  labelled: {{path: "{few}", resolution: 16, labels: class, workers: 0, block_records: 8, window_blocks: 4}}
model: {{name: dcgan, width: 4, latent_dim: 8, norm_group: 4}}
game: {{name: ssgan, group: 4}}
""" + harness.SHORT_RUN


@pytest.fixture(scope="module")
def recipe(tiny_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ssgan")
    few = harness.make_set(folder / "few", (24,))
    (folder / "ssgan.yaml").write_text(RECIPE.format(data=tiny_set, few=few))
    return folder / "ssgan.yaml"


@pytest.fixture(scope="module")
def straight(recipe: Path) -> Path:
    """An uninterrupted run on one rank."""
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
    harness.launch(2, f"recipe={recipe}", f"run_dir={moved}")
    assert harness.digest(moved) == harness.digest(straight)
    assert harness.reports(moved)[-1] == harness.reports(straight)[-1]
    assert {"loss/D/label", "loss/D/error", "loss/G/feature_matching"} <= harness.reports(straight)[-1].keys()


@pytest.mark.slow
def test_its_classifier_loads_and_is_measured(straight: Path, tiny_set: Path, capsys: pytest.CaptureFixture) -> None:
    classify = scalegan.load(straight, "classify")
    assert classify(torch.zeros(3, 3, 16, 16)).shape == (3, 4)
    assert scalegan.load(straight)(torch.randn(3, 8)).shape == (3, 3, 16, 16)
    found = {}
    for further in ([], ["--matched"]):
        assert class_error.main([str(straight), "--data", str(tiny_set), *further]) == 0
        found[len(further)] = json.loads(capsys.readouterr().out)
    assert found[0]["images"] == 304 and 0 <= found[1]["error"] <= found[0]["error"] <= 1
    assert sorted(found[1]["class_of_category"]) == [0, 1, 2, 3]


def test_categories_stand_for_the_classes_with_which_they_are_wrong_least() -> None:
    """Category 0 has mostly class 1, but class 1 is needed for category 2, which has nothing else."""
    categories = torch.tensor([0] * 5 + [1] * 4 + [2] * 6)
    labels = torch.tensor([1, 1, 1, 0, 0, 2, 2, 2, 0, *[1] * 6])
    assert class_error.matched(categories, labels, 3).tolist() == [0, 2, 1]
