"""Pixel-level domain adaptation: one update of each phase against the paper's formulas, and a run's classifier."""

import copy
import json
from pathlib import Path

import pytest
import torch
from harness import launch, make_set
from small_games import SAMPLES, Witness, batch_for, coupled
from torch import Tensor
from torch.nn.functional import log_softmax, softplus

import scalegan
from scalegan.config import loading
from scalegan.engines.ddp import DDPEngine
from scalegan.engines.ranks import Ranks
from scalegan.errors import RecipeError
from scalegan.games.base import Batch
from scalegan.games.pixelda.game import PixelDA
from scalegan.models.layers.dropout import drawn_from
from scalegan.randomness import Draws, parameter_generators
from tools import simulated_to_real

ALONE = Ranks(0, 1, torch.device("cpu"))


def made() -> tuple[PixelDA, Batch]:
    game, specs = coupled("PixelDA")
    for player, network in game.players.items():
        network.initialise(parameter_generators(1, player))
        if player != "T":
            for parameter in network.parameters():
                parameter.data *= 5
    return game, batch_for(specs, Draws(3, 0, "DT", torch.arange(SAMPLES)))


def published(game: PixelDA, batch: Batch) -> dict[str, dict[str, Tensor]]:
    """Eq. 2 to 4, with the non-saturating loss of G and weight 2 for the classes."""
    source, classes = batch.streams["source"].data, batch.streams["source"].condition
    adapted = game.G(source, 2 * batch.draws.uniform("z", 5) - 1)

    def of_classes(images: Tensor) -> Tensor:
        return -log_softmax(game.T(images), 1)[torch.arange(len(images)), classes].mean()

    with drawn_from(batch.draws, game.D):
        real, fake = game.D(batch.streams["target"].data), game.D(adapted.detach())
    with drawn_from(batch.draws.of("G"), game.D):
        again = game.D(adapted)
    return {"DT": {"real": softplus(-real).mean(), "fake": softplus(fake).mean(),
                   "source_class": of_classes(source), "adapted_class": of_classes(adapted.detach())},
            "G": {"fake": softplus(-again).mean(), "adapted_class": 2 * of_classes(adapted)}}


@pytest.mark.parametrize("number, name", enumerate(("DT", "G")))
def test_an_update_is_the_papers_formulas(number: int, name: str) -> None:
    game, batch = made()
    other, phase = copy.deepcopy(game), game.phases[number]
    witnesses = {player: Witness(network) for player, network in game.players.items()}
    figures = DDPEngine(game, witnesses, ALONE, SAMPLES).update(phase, batch)
    expected = published(other, batch)[name]
    for term, value in expected.items():
        assert figures[term].item() == pytest.approx(value.item(), rel=1e-5), term
    parameters = [p for mover in name for p in other.players[mover].parameters()]
    gradients = torch.autograd.grad(sum(expected.values()), parameters)
    assert phase.players == tuple(name)
    found = [gradient for mover in name for gradient in witnesses[mover].found]
    whole = torch.cat([gradient.flatten() for gradient in found]).norm()
    for one, of_formula in zip(found, gradients):
        assert (one - of_formula).norm() <= 1e-4 * of_formula.norm() + 2e-6 * whole


RUN = """# pixel-level domain adaptation in small
data: {{path: "{data}", resolution: 16, labels: class, workers: 0, block_records: 8, window_blocks: 4}}
streams: {{target: {{path: "{data}", resolution: 16, workers: 0, block_records: 8, window_blocks: 4}}}}
game: {{name: pixelda, width: 4, blocks: 1, norm_group: 8}}
optimizer: {{default: {{lr: 1e-3}}}}
batch_size: 32
micro_batch_size: 8
lanes: 4
total_images: 640
log: {{every_images: 320, tensorboard: false}}
snapshot: {{every_images: 320, rows: 2, columns: 2}}
"""


@pytest.mark.slow
def test_a_runs_classifier_has_learnt_the_classes_and_its_generator_answers_by_z(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The source's classes are colours, which the target shares."""
    recipe, run = tmp_path / "recipe.yaml", tmp_path / "run"
    data = make_set(tmp_path / "set")
    recipe.write_text(RUN.format(data=data))
    launch(1, f"recipe={recipe}", f"run_dir={run}")
    colours = torch.tensor([[220, 30, 30], [30, 220, 30], [30, 30, 220], [200, 200, 60]]) / 127.5 - 1
    images = colours.view(4, 3, 1, 1).expand(-1, -1, 16, 16)
    assert scalegan.load(run, "T")(images).argmax(1).tolist() == [0, 1, 2, 3]
    generator = scalegan.load(run)
    one, other = (generator(images, torch.full((4, 10), z)) for z in (-1.0, 1.0))
    assert one.shape == images.shape and not torch.allclose(one, other)

    assert simulated_to_real.main([str(run), "--real", str(data), "--test", str(data)]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])["accuracy"]
    assert found["T"] == found["source_alone"] == 1


@pytest.mark.parametrize("keys, said", [
    ({"data": {"path": "-"}}, "set data.labels=class"),
    ({"streams": {"target": {"path": "-", "labels": "class"}}}, "set streams.target.labels=none"),
], ids=["no classes", "labels of the target"])
def test_what_cannot_work_is_refused_in_a_line(keys: dict, said: str) -> None:
    recipe = {"run_dir": "-", "total_images": 1, "data": {"path": "-", "labels": "class"},
              "streams": {"target": {"path": "-"}}, "optimizer": {"default": {}}, "game": {"name": "pixelda"}}
    with pytest.raises(RecipeError) as raised:
        loading.parse({**recipe, **keys}, "test")
    assert said in str(raised.value) and len(str(raised.value).splitlines()) == 1
