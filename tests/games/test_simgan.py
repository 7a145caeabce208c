"""SimGAN: its networks, one update of each phase against the paper's formulas, its phases and pool in runs, labels."""

import copy
from pathlib import Path

import pytest
import torch
from harness import launch, make_set, reports
from PIL import Image
from small_games import SAMPLES, Witness, batch_for, coupled
from torch import Tensor, nn
from torch.nn.functional import softplus

from scalegan.commands import apply, prepare
from scalegan.config import loading
from scalegan.data.manifest import load_set
from scalegan.data.spec import Spec
from scalegan.engines.ddp import DDPEngine
from scalegan.engines.ranks import Ranks
from scalegan.errors import RecipeError
from scalegan.games.base import Batch, Sample
from scalegan.games.simgan.game import SimGAN
from scalegan.games.simgan.networks import Discriminator, Refiner
from scalegan.randomness import Draws, parameter_generators
from scalegan.training import build

ALONE = Ranks(0, 1, torch.device("cpu"))
RECIPE = {"run_dir": "-", "total_images": 1, "data": {"path": "-"}, "streams": {"real": {"path": "-"}},
          "optimizer": {"default": {}}, "game": {"name": "simgan"}}


@pytest.mark.parametrize("channels, of_refiner", [(1, 296_129), (3, 297_411)], ids=["grey", "colour"])
def test_the_refiner_has_the_published_number_of_parameters(channels: int, of_refiner: int) -> None:
    assert sum(parameter.numel() for parameter in Refiner(channels).parameters()) == of_refiner


def test_the_discriminator_has_the_published_number_of_parameters_and_a_logit_for_each_patch() -> None:
    network, seen = Discriminator(), torch.rand(2, 1, 35, 55, requires_grad=True)       # the paper's eyes
    assert sum(parameter.numel() for parameter in network.parameters()) == 75_906
    logits = network(seen)
    assert logits.shape == (2, 9, 14)
    logits[:, 4, 7].sum().backward()
    rows = seen.grad.abs().sum((0, 1, 3)).nonzero()
    assert rows.max() - rows.min() + 1 == 23


@pytest.mark.parametrize("blocks", [0, 2])
def test_a_refined_pixel_depends_on_no_pixel_beyond_its_reach(blocks: int) -> None:
    network, seen = Refiner(1, 32, blocks), torch.rand(1, 1, 21, 21, requires_grad=True)
    network(seen)[0, 0, 10, 10].backward()
    rows, columns = seen.grad[0, 0].nonzero(as_tuple=True)
    assert (rows - 10).abs().max() == (columns - 10).abs().max() == network.reach


def made() -> tuple[SimGAN, Batch]:
    game, specs = coupled("SimGAN")
    for player, network in game.players.items():
        network.initialise(parameter_generators(1, player))
    return game, batch_for(specs, Draws(3, 0, "D", torch.arange(SAMPLES)))


def published(game: SimGAN, batch: Batch) -> dict[str, dict[str, Tensor]]:
    """Eq. 1, 2 and 4 with D(x) the probability that a patch is real; the pool is empty, and changes nothing."""
    simulated, real = batch.streams["simulated"].data, batch.streams["real"].data
    refined = game.R(simulated)
    change = (refined - simulated).abs().mean()
    of_d = {"real": softplus(-game.D(real)).mean(), "fake": softplus(game.D(refined.detach())).mean()}
    return {"R_alone": {"l1": change}, "D_alone": of_d, "D": of_d,
            "R": {"fake": softplus(-game.D(refined)).mean(), "self_regularisation": 3 * change}}


@pytest.mark.parametrize("number, name", enumerate(("R_alone", "D_alone", "R", "D")))
def test_an_update_is_the_papers_formulas(number: int, name: str) -> None:
    game, batch = made()
    other, phase = copy.deepcopy(game), game.phases[number]
    witnesses = {player: Witness(network) for player, network in game.players.items()}
    figures = DDPEngine(game, witnesses, ALONE, SAMPLES).update(phase, batch)
    expected = published(other, batch)[name]
    for term, value in expected.items():
        assert figures[term].item() == pytest.approx(value.item(), rel=1e-5), term
    mover = name[0]
    gradients = torch.autograd.grad(sum(expected.values()), list(other.players[mover].parameters()))
    assert phase.name == name and phase.players == (mover,)
    for found, of_formula in zip(witnesses[mover].found, gradients):
        assert (found - of_formula).norm() <= 1e-4 * of_formula.norm() + 1e-7


class Constant(nn.Module):
    """Images of one value each, by the simulated ones."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((1, 2, 3), keepdim=True).expand_as(x)


@pytest.mark.slow
def test_half_of_the_refined_images_that_d_sees_are_past_ones() -> None:
    """Each update's images have a value of their own, by which those of earlier updates are counted."""
    game, _ = coupled("SimGAN")
    seen: list[Tensor] = []
    game.compiled = {"R": Constant(), "D": lambda images: seen.append(images) or game.D(images)}
    engine = DDPEngine(game, {name: Witness(network) for name, network in game.players.items()}, ALONE, 2 * SAMPLES)
    past = []
    for update in range(30):
        draws = Draws(3, 0, "D", torch.arange(2 * SAMPLES) + 2 * SAMPLES * update)
        streams = {"simulated": Sample(torch.full((2 * SAMPLES, 1, 16, 16), update / 32)),
                   "real": Sample(torch.zeros(2 * SAMPLES, 1, 16, 16))}
        engine.update(game.phases[3], Batch(streams, draws))
        past.append((seen[-1][:, 0, 0, 0] < update / 32).float().mean())
    assert past[0] == 0 and torch.stack(past[2:]).mean() == pytest.approx(0.5, abs=0.08)


RUN = """# SimGAN in small
data: {{path: "{data}", resolution: 16, labels: class, workers: 0, block_records: 8, window_blocks: 4}}
streams: {{real: {{path: "{data}", resolution: 16, workers: 0, block_records: 8, window_blocks: 4}}}}
game: {{name: simgan, width: 4, blocks: 1, pool: 40, pretrain_refiner_images: 64, pretrain_discriminator_images: 32}}
optimizer: {{default: {{lr: 1e-3}}}}
batch_size: 16
micro_batch_size: 4
lanes: 4
total_images: 192
log: {{every_images: 32, tensorboard: false}}
"""


@pytest.mark.slow
def test_a_run_trains_r_then_d_then_both_and_what_it_refines_keeps_its_class(tmp_path: Path) -> None:
    recipe, run = tmp_path / "recipe.yaml", tmp_path / "run"
    recipe.write_text(RUN.format(data=make_set(tmp_path / "set")))
    launch(1, f"recipe={recipe}", f"run_dir={run}")
    phases = [{key.split("/")[1] for key in report if key.startswith("loss/")} for report in reports(run)]
    assert phases[:4] == [{"R_alone"}, {"R_alone"}, {"D_alone"}, {"R", "D"}]
    assert {"loss/D/accuracy", "loss/R/l1"} < set(reports(run)[-1])

    for name in ("eye/1.png", "eye/2.png", "hand/1.png"):
        path = tmp_path / "simulated" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 30), "red").save(path)
    assert apply.main([str(run), str(tmp_path / "simulated"), "--out", str(tmp_path / "refined")]) == 0
    assert prepare.main([str(tmp_path / "refined"), str(tmp_path / "again"), "--labels", "class", "--resolution",
                         "16"]) == 0
    manifest, index = load_set(tmp_path / "again")
    assert manifest.labels.names == ("eye", "hand") and index.labels.tolist() == [0, 0, 1]


@pytest.mark.parametrize("keys, said", [
    ({"model": {"name": "mlp"}}, "leave out model"),
    ({"augment": {"name": "ada"}}, "set augment.name=none"),
    ({"streams": {}}, "streams.real"),
    ({"streams": {"real": {"path": "-", "labels": "class"}}}, "set streams.real.labels=none"),
    ({"data": {"path": "ring8", "backend": "points"}}, "set another backend"),
], ids=["networks of a family", "augmentation", "no real images", "labels of real images", "points"])
def test_what_cannot_work_is_refused_in_a_line(keys: dict, said: str) -> None:
    with pytest.raises(RecipeError) as raised:
        loading.parse({**RECIPE, **keys}, "test")
    assert said in str(raised.value) and len(str(raised.value).splitlines()) == 1


def test_sets_of_two_sizes_are_refused_in_a_line() -> None:
    with pytest.raises(RecipeError, match="prepare both with the same resolution and colours"):
        build.game(loading.parse(RECIPE, "test"), {"simulated": Spec("image", (1, 28, 28)),
                                                   "real": Spec("image", (3, 28, 28))})
