"""StarGAN: one update against the formulas of the paper, its labels, runs, and photos that get other attributes."""

import copy
from argparse import ArgumentTypeError
from pathlib import Path

import harness
import numpy as np
import pytest
import torch
from PIL import Image
from small_games import SAMPLES, STARGAN, Witness, batch_for, coupled
from torch import Tensor

import scalegan
from scalegan.commands import apply, export, translate
from scalegan.config import loading
from scalegan.data.pixels import from_levels
from scalegan.data.spec import Spec
from scalegan.engines.ddp import DDPEngine
from scalegan.engines.ranks import Ranks
from scalegan.errors import RecipeError, UsageError
from scalegan.games.base import Batch, Sample
from scalegan.games.stargan.game import StarGAN
from scalegan.games.stargan.labels import in_turn, with_values
from scalegan.models import stargan
from scalegan.pictures.attributes import Relabelling
from scalegan.randomness import Draws
from scalegan.support.arguments import strengths
from scalegan.training import build

ALONE = Ranks(0, 1, torch.device("cpu"))
OF_NAMES = [3, 1]       # where d and b are among a, b, c, d


def made(name: str = "StarGAN") -> tuple[StarGAN, Batch]:
    game, specs = coupled(name)
    for player in game.players.values():
        for parameter in player.parameters():
            parameter.data *= 3
    return game, batch_for(specs, Draws(3, 0, "D", torch.arange(SAMPLES)))


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """-log P(labels | x), of a softmax for classes, and summed over attributes; a mean over images."""
    if labels.dim() == 1:
        return -torch.log(torch.softmax(logits, 1))[torch.arange(len(labels)), labels].mean()
    chance = torch.sigmoid(logits)
    return -(labels * torch.log(chance) + (1 - labels) * torch.log(1 - chance)).sum() / len(labels)


def published(game: StarGAN, batch: Batch) -> dict[str, dict[str, Tensor]]:
    """Eq. 1 to 8, with the weights of section 4."""
    x, own, target = batch.reals, batch.labels, batch.given["real"]
    if own.dim() == 2:
        own, target = own[:, OF_NAMES].float(), target[:, OF_NAMES].float()
    fake = game.G(x, target)
    real_source, real_labels = game.D(x)
    fake_source, fake_labels = game.D(fake)
    share = batch.draws.uniform("between")[:, None, None, None]
    points = (share * x + (1 - share) * fake).detach().requires_grad_()
    slope, = torch.autograd.grad(game.D(points)[0].sum(), points, create_graph=True)
    norms = torch.stack([one.norm() for one in slope])
    return {"D": {"real": -real_source.mean(), "fake": game.D(fake.detach())[0].mean(),
                  "class": cross_entropy(real_labels, own), "gradient_penalty": 10 * ((norms - 1) ** 2).mean()},
            "G": {"fake": -fake_source.mean(), "class": cross_entropy(fake_labels, target),
                  "reconstruction": 10 * (x - game.G(fake, own)).abs().mean()}}


@pytest.mark.parametrize("phase", ["D", "G"])
@pytest.mark.parametrize("name", ["StarGAN", "StarGAN of classes"])
def test_an_update_is_the_published_formulas(name: str, phase: str) -> None:
    game, batch = made(name)
    assert (batch.labels != batch.given["real"]).any()
    other = copy.deepcopy(game)
    witnesses = {player: Witness(network) for player, network in game.players.items()}
    move = next(p for p in game.phases if p.name == phase)
    figures = DDPEngine(game, witnesses, ALONE, SAMPLES).update(move, batch)

    expected = published(other, batch)[phase]
    assert {t for t in figures if not t.startswith("grad_norm") and not t.endswith("logit")} == set(expected)
    for term, value in expected.items():
        assert figures[term].item() == pytest.approx(value.item(), rel=1e-5), term
    gradients = torch.autograd.grad(sum(expected.values()), list(other.players[phase].parameters()))
    whole = torch.cat([g.flatten() for g in gradients]).norm()
    for one, of_formula in zip(witnesses[phase].found, gradients):
        assert (one - of_formula).norm() <= 1e-4 * of_formula.norm() + 1e-6 * whole
    assert not hasattr(witnesses["G" if phase == "D" else "D"], "found")


def test_g_sees_what_d_saw_last_and_targets_are_those_of_random_records() -> None:
    """Of 2,000 samples all with attribute a, those that should have it are as many as in the table of the data."""
    game, _ = made()
    of_d, of_g = game.phases
    assert (of_d.updates, of_g.updates, of_g.draws, of_g.fresh_batch) == (5, 1, "D", False)
    table = (torch.arange(1000)[:, None] % torch.tensor([2, 4, 8, 10]) == 0).float()
    batch = Batch({"real": Sample(torch.zeros(2000, 1), torch.ones(2000, 4))},
                  Draws(0, 0, "D", torch.arange(2000)), {"real": table})
    targets = game.of_interest(batch.condition())
    assert targets.mean(0).tolist() == pytest.approx([0.1, 0.25], abs=0.03)
    together = {tuple(row) for row in targets.tolist()}
    assert together == {tuple(row) for row in table[:, OF_NAMES].tolist()}


# --- labels ---------------------------------------------------------------------------------------------------------

FACES = ("Male", "Black_Hair", "Blond_Hair", "Young")


@pytest.mark.parametrize("values, expected", [
    ({"Young": 0.5}, [1, 1, 0, 0.5]), ({"Blond_Hair": 1}, [1, 0, 1, 1]), ({"Black_Hair": 0}, [1, 0, 0, 1]),
    ({"Blond_Hair": 1, "Black_Hair": 1, "Male": 0}, [0, 1, 1, 1]),
], ids=["a strength", "a hair colour clears the others", "no hair colour clears none", "unless they are named"])
def test_attributes_that_are_not_named_stay(values: dict[str, float], expected: list[float]) -> None:
    present = torch.tensor([[1.0, 1.0, 0.0, 1.0]])
    assert with_values(present, FACES, values).tolist() == [expected]
    assert present.tolist() == [[1, 1, 0, 1]]


def test_a_picture_shows_each_attribute_inverted_and_each_hair_colour_and_class() -> None:
    found = in_turn(torch.tensor([[1.0, 1.0, 0.0, 1.0]]), FACES)
    assert {name: labels.tolist() for name, labels in found.items()} == {
        "Male": [[0, 1, 0, 1]], "Black_Hair": [[1, 1, 0, 1]], "Blond_Hair": [[1, 0, 1, 1]], "Young": [[1, 1, 0, 0]]}
    assert {name: labels.tolist() for name, labels in in_turn(torch.tensor([1, 0]), "ab").items()} == {
        "a": [0, 0], "b": [1, 1]}


# --- what recipes may not say ---------------------------------------------------------------------------------------

KEYS = {"run_dir": "-", "total_images": 1, "data": {"path": "-", "resolution": 16, "labels": "attributes"},
        "model": STARGAN, "game": {"name": "stargan"}, "optimizer": {"default": {}}, "batch_size": SAMPLES}


@pytest.mark.parametrize("keys, said", [
    ({"model": {"name": "resnet_i2i"}}, "set model.name=stargan"),
    ({"game": {"name": "gan"}}, "use game.name=stargan"),
    ({"data": {"path": "-"}}, "set data.labels=attributes or data.labels=class"),
    ({"data": {"path": "-", "labels": "class"}, "game": {"name": "stargan", "attributes": ["a"]}}, "leave it out"),
    ({"game": {"name": "stargan", "attributes": ["a", "a"]}}, "names a twice"),
    ({"augment": {"name": "ada"}}, "set augment.name=none"),
])
def test_what_cannot_work_is_refused_in_a_line(keys: dict, said: str) -> None:
    with pytest.raises(RecipeError) as raised:
        loading.parse({**KEYS, **keys}, "test")
    assert said in str(raised.value) and len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize("keys, resolution, said", [
    ({"game": {"name": "stargan", "attributes": ["Blond"]}}, 16, "no attribute 'Blond'; did you mean 'Blond_Hair'"),
    ({}, 100, "set model.d_layers lower"),
])
def test_what_does_not_fit_the_data_is_refused_in_a_line(keys: dict, resolution: int, said: str) -> None:
    recipe = loading.parse({**KEYS, **keys}, "test")
    with pytest.raises(RecipeError, match=said):
        build.game(recipe, {"real": Spec("image", (3, resolution, resolution), attributes=4, label_names=FACES)})


# --- runs -----------------------------------------------------------------------------------------------------------

RUN = """# StarGAN in small
data: {{path: "{data}", resolution: 16, labels: class, workers: 0, block_records: 8, window_blocks: 4}}
model: {{name: stargan, width: 2, blocks: 1, d_width: 2}}
game: {{name: stargan, critic_updates: 2}}
""" + harness.SHORT_RUN


@pytest.mark.slow
def test_four_ranks_and_a_restart_change_no_bit(tmp_path: Path) -> None:
    recipe = tmp_path / "stargan.yaml"
    recipe.write_text(RUN.format(data=harness.make_set(tmp_path / "set", (40, 24), "png", 16)))
    straight, moved = tmp_path / "straight", tmp_path / "moved"
    harness.launch(1, f"recipe={recipe}", f"run_dir={straight}")
    harness.launch(4, f"recipe={recipe}", f"run_dir={moved}", "total_images=160")
    harness.launch(2, f"recipe={recipe}", f"run_dir={moved}")
    assert harness.digest(moved) == harness.digest(straight)
    assert harness.reports(moved)[-1] == harness.reports(straight)[-1]
    assert harness.samples(moved) == harness.samples(straight)

    assert export.main([str(straight), "--out", str(tmp_path / "star.safetensors")]) == 0
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    for command, source in ((translate, straight), (apply, tmp_path / "star.safetensors")):
        out = tmp_path / command.__name__
        assert command.main([str(source), str(tmp_path / "photo.png"), "--set", "c=1", "--out", str(out)]) == 0
        photo = from_levels(torch.from_numpy(pixels)).permute(2, 0, 1)[None]
        answer = scalegan.load(straight)(photo, torch.tensor([2]))
        found = from_levels(torch.from_numpy(np.array(Image.open(out / "photo.png"))))
        assert (found.permute(2, 0, 1) - answer[0]).abs().max() < 0.01


# --- photos ---------------------------------------------------------------------------------------------------------

def relabelling(values: dict[str, float], classifier: bool = True, spec: Spec | None = None) -> Relabelling:
    """Of networks for faces of 16 px."""
    spec = spec or Spec("image", (3, 16, 16), attributes=4, label_names=FACES)
    generator = stargan.Generator(spec.shape[0], 4, 4, 1)
    generator.about, generator.names = {"spec": vars(spec)}, FACES
    labelling = stargan.Classifier(stargan.Discriminator(16, spec.shape[0], 4, 2)) if classifier else None
    return Relabelling(generator, labelling, values)


@pytest.mark.parametrize("height, width, channels", [(16, 16, 3), (300, 200, 3), (7, 30, 1), (40, 2000, 3), (1, 1, 3)])
def test_photos_of_any_size_get_answers_of_their_size(height: int, width: int, channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)
    answers = [relabelling({"Male": value})(pixels) for value in (0.0, 1.0)]
    assert answers[0].shape == answers[1].shape == (height, width, 3)
    grey = Spec("image", (1, 16, 16), attributes=4, label_names=FACES)
    assert relabelling({"Male": 1}, spec=grey)(pixels).shape == (height, width, 1)


def test_the_classifier_tells_what_a_photo_has_and_what_is_not_named_stays() -> None:
    relabel = relabelling({"Male": 0.25})
    asked = []
    generate = relabel.network.forward
    relabel.network.forward = lambda images, labels: asked.append(labels) or generate(images, labels)
    relabel.classifier = lambda images: torch.tensor([[3.0, -1.0, 0.1, -0.1]])
    relabel(np.zeros((20, 20, 3), np.uint8))
    assert asked[0].tolist() == [[0.25, 0, 1, 0]]


def test_a_large_photo_keeps_its_details_where_nothing_is_changed() -> None:
    relabel = relabelling({"Male": 1})
    relabel.network.forward = lambda images, labels: images
    pixels = np.random.default_rng(0).integers(0, 256, (200, 100, 3), np.uint8)
    assert np.array_equal(relabel(pixels), pixels)


@pytest.mark.parametrize("text", ["Male", "Male=2", "Male=-0.1", "Male=nan", "Male=yes", "=1", "Male=1,Male=0", ""])
def test_what_set_cannot_mean_is_refused(text: str) -> None:
    assert strengths("Smiling=1, Male=0.5") == {"Smiling": 1, "Male": 0.5}
    with pytest.raises(ArgumentTypeError):
        strengths(text)


CLASSES = Spec("image", (3, 16, 16), classes=4, label_names=FACES)


@pytest.mark.parametrize("values, keys, said", [
    ({"Blond": 1}, {}, "no attribute 'Blond'; did you mean 'Blond_Hair'"),
    ({"Male": 1, "Young": 0}, {"classifier": False}, "set all, Black_Hair, Blond_Hair too"),
    ({"Mal": 1}, {"spec": CLASSES}, "no class 'Mal'; did you mean 'Male'"),
    ({"Male": 1, "Young": 1}, {"spec": CLASSES}, "an image has one class"),
    ({"Male": 0.5}, {"spec": CLASSES}, "an image has one class"),
])
def test_values_that_do_not_fit_the_network_are_refused_in_a_line(values: dict, keys: dict, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        relabelling(values, **keys)
    assert said in str(raised.value)
