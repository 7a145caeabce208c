"""LAPGAN: the pyramid's exact reconstruction, its updates, sizes and whole runs, against the paper and its code."""

import json
import math
from pathlib import Path

import pytest
import torch
from harness import launch
from PIL import Image
from small_games import Witness, batch_for, coupled
from torch import Tensor, nn

import scalegan
from scalegan.commands import evaluate, export, interpolate, sample
from scalegan.config import loading
from scalegan.data.spec import Spec
from scalegan.engines.ddp import DDPEngine
from scalegan.engines.ranks import Ranks
from scalegan.errors import RecipeError
from scalegan.games.base import Batch
from scalegan.games.lapgan import pyramid
from scalegan.games.lapgan.game import LAPGAN
from scalegan.games.lapgan.networks import Pyramid
from scalegan.models.layers.dropout import drawn_from
from scalegan.randomness import Draws
from scalegan.training import build

SAMPLES = 16
SPEC = {"real": Spec("image", (3, 16, 16))}


def small() -> LAPGAN:
    game, _ = coupled("LAPGAN")
    build.initialise(game, 3)
    return game


def batch_of(phase: str) -> Batch:
    return batch_for(SPEC, Draws(3, 0, phase, torch.arange(SAMPLES)))


# --- the pyramid ----------------------------------------------------------------------------------------------------

class Known(nn.Module):
    """A generator of given images, whatever it is asked."""

    latent_dim = 1

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self.images = images

    def forward(self, z: Tensor, low: Tensor | None = None) -> Tensor:
        return self.images


@pytest.mark.parametrize("side, levels", [(32, 2), (32, 3), (64, 5), (24, 4)])
def test_an_image_is_its_coarsest_level_and_what_the_others_add(side: int, levels: int) -> None:
    images = torch.rand(2, 3, side, side) * 2 - 1
    levels_of = [pyramid.at_level(images, level) for level in range(levels)]
    perfect = [Known(pyramid.split(one)[0]) for one in levels_of[:-1]] + [Known(levels_of[-1])]
    stages = Pyramid(perfect).stages(torch.zeros(2, levels))
    assert [one.shape[-1] for one in stages] == [side >> level for level in reversed(range(levels))]
    for level, image in enumerate(reversed(stages)):
        torch.testing.assert_close(image, levels_of[level], rtol=0, atol=1e-6)


def test_a_plain_image_has_no_details() -> None:
    h, low = pyramid.split(torch.full((1, 3, 16, 16), 0.25))
    assert h.abs().max() < 1e-6 and torch.allclose(low, torch.tensor(0.25))


def test_the_noise_of_a_level_moves_that_level_and_the_finer_ones_alone() -> None:
    network, z = Pyramid(small().G), torch.rand(2, 100 + 16**2)
    other = z.clone()
    other[:, 100:] += 1
    (coarse, fine), (same, moved) = network.stages(z), network.stages(other)
    assert torch.equal(coarse, same) and not torch.allclose(fine, moved)
    assert network(z).shape == (2, 3, 16, 16) and torch.equal(network(z), fine)


# --- one update, as in the paper ------------------------------------------------------------------------------------

def published(game: LAPGAN, phase: str, batch: Batch) -> dict[str, Tensor]:
    """Eq. 2 with the published code's batches: half of D's are reals, the l of its fakes are those of other images, and
    all of G's images lend their l."""
    level, images = int(phase[1]), batch.reals
    g, d = game.players[f"G{level}"], game.players[f"D{level}"]
    low = None
    if level == 0:
        small = (images[..., ::2, ::2] + images[..., 1::2, ::2] + images[..., ::2, 1::2] + images[..., 1::2, 1::2]) / 4
        low = nn.Upsample(scale_factor=2, mode="bilinear")(small)
    else:
        images = nn.AvgPool2d(2)(images)

    def fake(part: slice) -> Tensor:
        z = batch.draws[part].uniform("z", g.latent_dim) * 2 - 1
        return g(z) if low is None else g(z, low[part]) + low[part]

    def chance(seen: Tensor, part: slice, side: str) -> Tensor:
        with drawn_from(batch.draws[part].of(side), d):
            return torch.sigmoid(d(seen))

    if phase[0] == "G":
        everything = slice(None)
        return {"fake": -torch.log(chance(fake(everything), everything, "fake")).mean()}
    reals, others = slice(0, None, 2), slice(1, None, 2)
    return {"real": -torch.log(chance(images[reals], reals, "real")).sum() / SAMPLES,
            "fake": -torch.log(1 - chance(fake(others).detach(), others, "fake")).sum() / SAMPLES}


@pytest.mark.parametrize("phase", ["D0", "G0", "D1", "G1"])
def test_an_update_is_the_published_formulas_and_moves_one_level_alone(phase: str) -> None:
    game, batch = small(), batch_of(phase)
    game.players["D1"].layers[1].weight.data *= 50      # else the signal is small, as published
    witnesses = {name: Witness(player) for name, player in game.players.items()}
    terms = published(game, phase, batch)
    gradients = torch.autograd.grad(sum(terms.values()), list(game.players[phase].parameters()))
    engine = DDPEngine(game, witnesses, Ranks(0, 1, torch.device("cpu")), SAMPLES)
    figures = engine.update(next(p for p in game.phases if p.name == phase), batch)
    for name, term in terms.items():
        assert figures[name].item() == pytest.approx(term.item(), rel=1e-5)
    assert [name for name, witness in witnesses.items() if hasattr(witness, "found")] == [phase]
    for found, expected in zip(witnesses[phase].found, gradients, strict=True):
        assert (found - expected).norm() <= 1e-4 * expected.norm() and expected.norm() > 0


def test_all_levels_see_the_same_images_and_g_others_than_d() -> None:
    assert [(phase.name, phase.fresh_batch) for phase in small().phases] == [
        ("D0", True), ("D1", False), ("G0", True), ("G1", False)]


def test_a_d_that_cannot_tell_has_a_loss_of_ln_2() -> None:
    game = small()
    for network in game.D:
        nn.init.zeros_(network.layers[-1].weight)
        nn.init.zeros_(network.layers[-1].bias)
    for level in range(2):
        d = game.discriminator_loss(level, batch_of("D"))
        assert [term.item() for term in d.values()] == pytest.approx([math.log(2) / 2] * 2)
        assert game.generator_loss(level, batch_of("G"))["fake"].item() == pytest.approx(math.log(2))


def test_the_networks_have_the_published_sizes() -> None:
    recipe = loading.load(["recipe=lapgan_cifar10"])
    with torch.device("meta"):
        game = build.game(recipe, {"real": Spec("image", (3, 32, 32))})
    sizes = {name: sum(p.numel() for p in player.parameters()) for name, player in game.players.items()}
    assert sizes == {"G0": 218_179, "D0": 116_545, "G1": 218_179, "D1": 107_328 + 64 * 4 * 4 + 1,
                     "G2": 66_352_192, "D2": 2_872_001}


# --- a run ----------------------------------------------------------------------------------------------------------

@pytest.mark.slow
def test_a_run_is_sampled_interpolated_evaluated_and_exported_as_a_whole_pyramid(
        tiny_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe, run, file = tmp_path / "tiny.yaml", tmp_path / "run", tmp_path / "lapgan.safetensors"
    recipe.write_text(f"""# LAPGAN in small
data: {{path: "{tiny_set}", resolution: 16, workers: 0, block_records: 8, window_blocks: 4}}
game: {{name: lapgan, levels: 2, width: 4, base_hidden: 10, latent_dim: 7}}
batch_size: 16
lanes: 4
total_images: 64
snapshot: {{every_images: 64, rows: 2, columns: 2}}
""")
    launch(1, f"recipe={recipe}", f"run_dir={run}")
    generator = scalegan.load(run)
    z = torch.rand(3, 7 + 16**2)
    assert generator.latent_dim == z.shape[1] and generator(z).shape == (3, 3, 16, 16)
    assert [images.shape[-1] for images in generator.stages(z)] == [8, 16]
    for command, *arguments in (
            (export, run, "--out", file),
            (sample, file, "--seeds", "0-3", "--out", tmp_path / "samples"),
            (interpolate, run, "--seeds", "0,1", "--steps", 2, "--out", tmp_path / "strip.png"),
            (evaluate, file, "--metrics", "ms_ssim", "--num-samples", 16)):
        assert command.main([str(argument) for argument in arguments]) == 0
    printed = capsys.readouterr().out
    assert json.loads(printed[printed.index("{"):])["num_samples"] == 16
    assert Image.open(tmp_path / "strip.png").width > 3 * 16 and (tmp_path / "samples" / "grid.png").exists()
    assert torch.equal(scalegan.load(file)(z), generator(z))
    assert Image.open(run / "samples" / "000000000064.png").height > 4 * 16     # a row for each sample


@pytest.mark.parametrize("keys, said", [
    ({"data": {"path": "-", "resolution": 18}}, "halves data.resolution=18 2 times"),
    ({"game": {"name": "lapgan", "levels": 4}}, "at least 5; use fewer levels"),
    ({"game": {"name": "lapgan", "levels": 1}}, "game.levels"),
    ({"data": {"path": "-", "resolution": 32, "labels": "class"}}, "set data.labels=none"),
    ({"augment": {"name": "ada"}}, "set augment.name=none"),
    ({"model": {"name": "mlp"}}, "leave out model"),
    ({"micro_batch_size": 1}, "make micro_batch_size"),
    ({"batch_size": 8}, "divided by lanes, even"),
    ({"engine": {"compile": True}}, "set engine.compile=false"),
    ({"data": {"path": "ring8", "backend": "points"}}, "not 2-D points"),
    ({"optimizer": {"G3": {"lr": 1e-3}}}, "players G0, D0, G1, D1, G2 and D2"),
], ids=lambda given: given if isinstance(given, str) else "")
def test_what_does_not_fit_is_said_in_a_line(keys: dict, said: str) -> None:
    recipe = {"run_dir": "-", "total_images": 1, "data": {"path": "-", "resolution": 32}, "game": {"name": "lapgan"}}
    with pytest.raises(RecipeError, match=said) as raised:
        loading.parse({**recipe, **keys}, "test")
    assert len(str(raised.value).splitlines()) == 1
