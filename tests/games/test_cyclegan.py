"""CycleGAN: one update against the paper's formulas, its pools, its closed forms, and runs."""

import copy
import json
from pathlib import Path

import harness
import pytest
import torch
from PIL import Image
from small_games import SAMPLES, Witness, batch_for
from torch import Tensor, nn
from torch.nn.functional import softplus

import scalegan
from scalegan.commands import apply
from scalegan.config import loading
from scalegan.data.spec import Spec
from scalegan.engines.ddp import DDPEngine
from scalegan.engines.ranks import Ranks
from scalegan.errors import RecipeError
from scalegan.games.base import Batch, Sample
from scalegan.games.cyclegan.game import CycleGAN
from scalegan.models.layers.dropout import drawn_from
from scalegan.randomness import Draws, parameter_generators
from scalegan.training import build

ALONE = Ranks(0, 1, torch.device("cpu"))
MODEL = {"name": "resnet_i2i", "width": 2, "blocks": 1, "d_width": 4, "d_layers": 2, "dropout": 0.5}
RECIPE = {"run_dir": "-", "total_images": 1, "data": {"path": "-", "resolution": 16}, "model": MODEL,
          "streams": {"B": {"path": "-"}}, "optimizer": {"default": {}}, "batch_size": SAMPLES}


def made(*channels: int, **keys: object) -> tuple[CycleGAN, Batch]:
    """A game between domains of 16 px with these channels, and a batch."""
    recipe = loading.parse({**RECIPE, "game": {"name": "cyclegan", **keys}}, "test")
    specs = {domain: Spec("image", (of, 16, 16)) for domain, of in zip("AB", channels or (3, 3))}
    game = build.game(recipe, specs)
    for player, network in game.players.items():
        network.initialise(parameter_generators(1, player))
        for parameter in network.parameters():
            parameter.data *= 5
    return game, batch_for(specs, Draws(3, 0, "G", torch.arange(SAMPLES)))


def published(game: CycleGAN, batch: Batch, identity: float, cross_entropy: bool) -> dict[str, dict[str, Tensor]]:
    """Eq. 1 to 3 with lambda = 10, with least squares or cross-entropy for the adversarial terms; D's are halved."""
    a, b = batch.streams["A"].data, batch.streams["B"].data

    def distance(logits: list[Tensor], target: float) -> Tensor:
        logit, = logits
        if cross_entropy:
            return softplus(-logit if target else logit).mean()
        return (logit - target).square().mean()

    with drawn_from(batch.draws, game.G_A, game.G_B):
        to_b, to_a = game.G_A(a), game.G_B(b)
    with drawn_from(batch.draws.of("back"), game.G_A, game.G_B):
        again_a, again_b = game.G_B(to_b), game.G_A(to_a)
    of_g = {"G_A": distance(game.D_A(to_b), 1), "G_B": distance(game.D_B(to_a), 1),
            "cycle_A": 10 * (again_a - a).abs().mean(), "cycle_B": 10 * (again_b - b).abs().mean()}
    if identity:
        with drawn_from(batch.draws.of("same"), game.G_A, game.G_B):
            of_g["identity"] = 10 * identity * ((game.G_A(b) - b).abs().mean() + (game.G_B(a) - a).abs().mean())
    of_d = {"real_A": distance(game.D_A(b), 1) / 2, "fake_A": distance(game.D_A(to_b.detach()), 0) / 2,
            "real_B": distance(game.D_B(a), 1) / 2, "fake_B": distance(game.D_B(to_a.detach()), 0) / 2}
    return {"G": of_g, "D": of_d}


@pytest.mark.parametrize("phase", ["G", "D"])
@pytest.mark.parametrize("channels, identity, loss", [((3, 3), 0.5, "least_squares"), ((1, 3), 0.0, "non_saturating")],
                         ids=["as published, with identity", "grey to colour, cross-entropy"])
def test_an_update_is_the_published_formulas(phase: str, channels: tuple[int, int], identity: float, loss: str) -> None:
    game, batch = made(*channels, identity=identity, loss=loss)
    other = copy.deepcopy(game)
    witnesses = {player: Witness(network) for player, network in game.players.items()}
    move = next(p for p in game.phases if p.name == phase)
    figures = DDPEngine(game, witnesses, ALONE, SAMPLES).update(move, batch)

    expected = published(other, batch, identity, loss == "non_saturating")[phase]
    for term, value in expected.items():
        assert figures[term].item() == pytest.approx(value.item(), rel=1e-5), term
    assert {t for t in figures if not t.startswith(("grad_norm", "cycle_l1")) and "logit" not in t} == set(expected)
    movers = [name for name in game.players if name.startswith(phase)]
    parameters = [p for name in movers for p in other.players[name].parameters()]
    gradients = torch.autograd.grad(sum(expected.values()), parameters, allow_unused=True)
    found = [g for name in movers for g in witnesses[name].found]
    whole = torch.cat([g.flatten() for g in found]).norm()
    for one, of_formula in zip(found, gradients):
        assert (one - of_formula).norm() <= 1e-4 * of_formula.norm() + 2e-6 * whole


class Swapped(nn.Module):
    """Turns an image upside down: its own inverse."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flip(2)


def test_generators_that_undo_each_other_have_no_cycle_loss_but_an_identity_loss() -> None:
    game, batch = made(identity=0.5)
    game.compiled = {**game.compiled, "G_A": Swapped(), "G_B": Swapped()}
    terms = game.generator_loss(batch)
    assert terms["cycle_A"] == terms["cycle_B"] == 0 and terms["identity"] > 1


def test_each_discriminator_sees_past_translations_of_its_own_domain() -> None:
    """From the second update on, when the pool is full; D's loss on fakes is then another than without a pool."""
    losses = {}
    for size in (SAMPLES, 0):
        game, _ = made(1, 3, pool=size)
        assert game.pool_A.fakes.shape == (size, 3, 16, 16) and game.pool_B.fakes.shape == (size, 1, 16, 16)
        engine = DDPEngine(game, {name: Witness(network) for name, network in game.players.items()}, ALONE, SAMPLES)
        for start in range(0, 3 * SAMPLES, SAMPLES):
            draws = Draws(3, 0, "G", torch.arange(start, start + SAMPLES))
            streams = {name: Sample(draws.normal(name, of, 16, 16).clamp(-1, 1)) for name, of in (("A", 1), ("B", 3))}
            figures = engine.update(game.phases[1], Batch(streams, draws))
            losses.setdefault(size, []).append(torch.stack([figures["fake_A"], figures["fake_B"]]))
        assert game.pool_A.filled == game.pool_B.filled == size
    assert torch.equal(losses[SAMPLES][0], losses[0][0])
    assert all((one != other).all() for one, other in zip(losses[SAMPLES][1:], losses[0][1:]))


RUN = """# CycleGAN in small
data: {{path: "{data}/a", resolution: 16, labels: none, workers: 0, block_records: 8, window_blocks: 4}}
streams: {{B: {{path: "{data}/b", resolution: 16, block_records: 8, window_blocks: 4}}}}
model: {{name: resnet_i2i, width: 2, blocks: 1, d_width: 2, d_layers: 1}}
game: {{name: cyclegan, pool: 12}}
""" + harness.SHORT_RUN


@pytest.mark.slow
def test_four_ranks_and_a_restart_change_no_bit(tmp_path: Path) -> None:
    for name, count in (("a", 24), ("b", 40)):      # of different sizes: nothing pairs them
        harness.make_set(tmp_path / name, (count, 24), "png", 16)
    recipe = tmp_path / "cyclegan.yaml"
    recipe.write_text(RUN.format(data=tmp_path))
    straight, moved = tmp_path / "straight", tmp_path / "moved"
    harness.launch(1, f"recipe={recipe}", f"run_dir={straight}")
    harness.launch(4, f"recipe={recipe}", f"run_dir={moved}", "total_images=160")
    harness.launch(2, f"recipe={recipe}", f"run_dir={moved}")
    assert harness.digest(moved) == harness.digest(straight)
    assert harness.reports(moved)[-1] == harness.reports(straight)[-1]

    image = torch.rand(1, 3, 20, 30) * 2 - 1
    there, back = scalegan.load(straight), scalegan.load(straight, "B_to_A")
    assert there(image).shape == back(image).shape == image.shape and not torch.equal(there(image), back(image))
    Image.new("RGB", (50, 30), "red").save(tmp_path / "red.png")
    arguments = [str(straight), str(tmp_path / "red.png"), "--out", str(tmp_path / "out"), "--network", "B_to_A"]
    assert apply.main(arguments) == 0 and Image.open(tmp_path / "out" / "red.png").size == (50, 30)

    evaluated = harness.cli("evaluate", moved, "--metrics", "cycle_l1")
    result = json.loads(evaluated.stdout)
    assert result["num_samples"] == 48 and "[-1, 1]" in result["constants"]["cycle_l1"], evaluated.stderr
    assert result["inputs"] == {"A": str(tmp_path / "a"), "B": str(tmp_path / "b")}
    found = result["metrics"]
    assert found["cycle_l1"] == pytest.approx((found["cycle_l1_A"] + found["cycle_l1_B"]) / 2) and found["cycle_l1"] > 0
    refused = harness.cli("evaluate", moved, "--metrics", "cycle_l1", "--data", tmp_path / "a")
    assert refused.returncode == 2 and "--data is one set, but" in refused.stderr


@pytest.mark.parametrize("keys, said", [
    ({"model": {"name": "dcgan"}}, "set model.name=unet or resnet_i2i"),
    ({"augment": {"name": "ada"}}, "set augment.name=none"),
    ({"game": {"name": "cyclegan", "cycle": 0, "identity": 0.5}}, "set game.cycle"),
    ({"model": {**MODEL, "d_layers": 5}}, "model.d_layers=5 and model.d_scales=1 leave data.resolution"),
    ({"streams": {}}, "streams.B"),
    ({"streams": {"B": {"path": "ring8", "backend": "points"}}}, "streams.B.backend=points has 2-D points"),
])
def test_what_cannot_work_is_refused_in_a_line(keys: dict, said: str) -> None:
    with pytest.raises(RecipeError) as raised:
        loading.parse({**RECIPE, "game": {"name": "cyclegan"}, **keys}, "test")
    assert said in str(raised.value) and len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize("specs, keys, said", [
    (((3, 16, 16), (3, 32, 32)), {}, "prepare both at one size"),
    (((1, 16, 16), (3, 16, 16)), {"identity": 0.5}, "leave it out"),
])
def test_domains_that_do_not_fit_are_refused_in_a_line(specs: tuple, keys: dict, said: str) -> None:
    recipe = loading.parse({**RECIPE, "game": {"name": "cyclegan", **keys}}, "test")
    with pytest.raises(RecipeError, match=said):
        build.game(recipe, {domain: Spec("image", shape) for domain, shape in zip("AB", specs)})
