"""Exact penalties, however they are computed, have the same gradients: compiled as eager, for every family and game
that has them, and R3GAN's without second derivatives."""

from typing import Any

import pytest
import torch
from small_games import SAMPLES, STARGAN, Witness, batch_for, leave_zero
from torch import Tensor

from scalegan.config import loading
from scalegan.config.game import streams_of
from scalegan.data.spec import Spec
from scalegan.engines.ddp import DDPEngine
from scalegan.engines.ranks import Ranks
from scalegan.games.base import Game
from scalegan.models import r3gan
from scalegan.randomness import Draws
from scalegan.training import build

R1_R2 = {"r1": {"gamma": 3.0}, "r2": {"gamma": 5.0}}
LAZY = {"r1": {"gamma": 3.0, "every": 2}}
MLP = {"name": "mlp", "hidden": 8, "layers": 2, "latent_dim": 4}
DCGAN = {"name": "dcgan", "width": 2, "latent_dim": 4, "norm_group": 4}
R3GAN = {"name": "r3gan", "width": 8, "cardinality": 2, "blocks": 1, "latent_dim": 8}
STYLEGAN2 = {"name": "stylegan2", "channel_base": 64, "channel_max": 8, "latent_dim": 8, "w_dim": 8,
             "mapping_layers": 1, "mbstd_group": 4}
MINIBATCH = {"minibatch_discrimination": {"kernels": 3, "kernel_dim": 2, "group": 4}}
OF_CLASSES = {"data": {"labels": "class"}}
GAMES: dict[str, dict[str, Any]] = {
    "MLP": {"model": MLP, "game": {"penalties": {**R1_R2, "gradient": {"weight": 2.0}}}},
    "MLP, lazy, minibatch discrimination": {"model": MLP, "game": {"penalties": LAZY, "tricks": MINIBATCH}},
    "DCGAN": {"model": DCGAN, "game": {"penalties": R1_R2}, **OF_CLASSES},
    "DCGAN, WGAN-GP": {"model": DCGAN, "game": {"loss": "wgan_gp"}},
    "DCGAN, energy": {"model": DCGAN, "game": {"loss": "ebgan", "penalties": LAZY}},
    "text DCGAN": {"model": {"name": "text_dcgan", "width": 8, "d_width": 8, "text_dim": 6, "latent_dim": 5,
                             "norm_group": 4},
                   "game": {"name": "text_to_image", "penalties": LAZY}, "data": {"labels": "vectors"}},
    "BigGAN": {"model": {"name": "biggan", "width": 4, "latent_dim": 8, "norm_group": 4, "attention": [16]},
               "game": {"penalties": LAZY}, "data": {"labels": "class", "resolution": 32}},
    "BigGAN-deep": {"model": {"name": "biggan_deep", "width": 4, "latent_dim": 8, "norm_group": 4, "depth": 1},
                    "game": {"penalties": LAZY}, "data": {"resolution": 32}},
    "StyleGAN2": {"model": STYLEGAN2, "game": {"penalties": {**LAZY, "path_length": {"every": 2}}}},
    "R3GAN": {"model": R3GAN, "game": {"loss": "relativistic", "penalties": R1_R2}, **OF_CLASSES},
    "SAN": {"model": DCGAN, "game": {"loss": "hinge", "penalties": R1_R2, "tricks": {"san": True}}, **OF_CLASSES},
    "SAN, R3GAN": {"model": R3GAN, "game": {"loss": "relativistic", "penalties": {**R1_R2, "bcr": {}},
                                            "tricks": {"san": True}}},
    "ADA": {"model": MLP, "game": {"penalties": R1_R2}, "augment": {"name": "ada", "target": None, "p": 0.8}},
    "StarGAN": {"model": STARGAN, "game": {"name": "stargan"}, **OF_CLASSES},
    "pix2pix": {"model": {"name": "resnet_i2i", "width": 2, "blocks": 1, "d_width": 2, "d_layers": 1, "d_scales": 2},
                "game": {"name": "pix2pix", "input": "edges", "loss": "wgan_gp"}, "data": {"resolution": 32}},
}


def made(keys: dict[str, Any], compile: bool) -> tuple[Game, dict[str, Spec]]:
    recipe = loading.parse({"run_dir": "-", "total_images": 1, "optimizer": {"default": {}}, "batch_size": SAMPLES,
                            **keys, "data": {"path": "-", "resolution": 16, **keys.get("data", {})},
                            "engine": {"compile": compile}}, "test")
    size = recipe.data.resolution
    labels = {"class": {"classes": 3}, "vectors": {"vector_dim": 7}}.get(recipe.data.labels, {})
    specs = dict.fromkeys(streams_of(recipe), Spec("image", (3, size, size), **labels))
    game = build.game(recipe, specs)
    leave_zero(game)
    return game, specs


def gradients(keys: dict[str, Any], compile: bool, precision: str = "fp32") -> dict[str, Tensor]:
    """By phase, the gradient and, of the player's modules that observe, the state after an update."""
    game, specs = made(keys, compile)
    found = {}
    for phase in game.phases:
        if phase.name == "G":
            continue
        witnesses = {name: Witness(player) for name, player in game.players.items()}
        engine = DDPEngine(game, witnesses, Ranks(0, 1, torch.device("cpu")), SAMPLES, precision)
        engine.update(phase, batch_for(specs, Draws(3, 0, phase.name, torch.arange(SAMPLES))))
        player = phase.players[0]
        found[phase.name] = torch.cat([g.flatten() for g in witnesses[player].found])
        found[f"{phase.name}, state"] = torch.cat([b.flatten().double() for b in game.buffers()] or [torch.zeros(1)])
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", GAMES)
def test_gradients_are_the_eager_ones(name: str, quickly_compiled: None) -> None:
    expected, found = gradients(GAMES[name], False), gradients(GAMES[name], True)
    for phase, one in expected.items():
        assert (one - found[phase]).norm() <= 1e-5 * one.norm(), phase


@pytest.mark.slow
def test_half_precision(quickly_compiled: None) -> None:
    """Not to the same digits: code that is compiled adds a convolution's bias after rounding it to bf16."""
    keys = GAMES["SAN, R3GAN"]
    exact, eager, other = gradients(keys, False), gradients(keys, False, "bf16"), gradients(keys, True, "bf16")
    for phase, one in exact.items():
        assert (other[phase] - one).norm() <= 2 * (eager[phase] - one).norm() + 1e-6 * one.norm(), phase


@pytest.mark.parametrize("changes", [
    {"game": {"loss": "relativistic", "penalties": R1_R2}, "data": {"labels": "class"}},
    {"game": {"loss": "relativistic", "penalties": R1_R2}, "augment": {"name": "ada", "target": None, "p": 0.8}},
    {"game": {"penalties": {"r2": {"gamma": 5.0}}}},
    {"game": {"penalties": LAZY}},
    {"game": {"loss": "wgan_gp"}},
    {"game": {"penalties": {**R1_R2, "bcr": {}, "lecam": {"start": 0}}}},
], ids=["R1 and R2", "augmented", "R2 alone", "lazy", "WGAN-GP", "beside terms of the logits"])
def test_r3gans_are_those_of_second_derivatives(changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    keys, calls, once = {"model": R3GAN, **changes}, [], r3gan.Discriminator.with_gradient
    monkeypatch.setattr(r3gan.Discriminator, "with_gradient", lambda *given, **named: calls.append(given) or
                        once(*given, **named))
    found = gradients(keys, False)
    assert calls
    calls.clear()
    monkeypatch.setattr(r3gan.Discriminator, "differentiable", False)
    expected = gradients(keys, False)
    assert not calls
    for phase, one in expected.items():
        assert (one - found[phase]).norm() <= 1e-5 * one.norm(), phase
