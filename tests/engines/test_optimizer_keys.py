"""AdamW's decoupled decay, and gradients no longer than `clip_norm`."""

import copy

import pytest
import torch
from small_games import SAMPLES, batch_of, game_of, networks

from scalegan import config
from scalegan.engines import optimizers
from scalegan.engines.ddp import DDPEngine
from scalegan.engines.ranks import Ranks

ALONE = Ranks(0, 1, torch.device("cpu"))


def moved(settings: config.Optimizer) -> tuple[torch.Tensor, torch.Tensor, float]:
    """D's weights before and after its first update, and the norm of its gradient."""
    game = game_of("dcgan", *networks("dcgan"))
    before = copy.deepcopy(game.D)
    engine = DDPEngine(game, optimizers.make(dict.fromkeys(game.players, settings), game), ALONE, SAMPLES)
    norm = engine.update(game.phases[0], batch_of("dcgan", "D"))["grad_norm/D"].item()
    vectors = (torch.nn.utils.parameters_to_vector(network.parameters()).detach() for network in (before, game.D))
    return *vectors, norm


def test_a_longer_gradient_is_shortened_and_keeps_its_direction() -> None:
    start, free, norm = moved(config.Optimizer(name="sgd", lr=1.0))
    bound = norm / 5
    _, clipped, reported = moved(config.Optimizer(name="sgd", lr=1.0, clip_norm=bound))
    assert (clipped - start).norm().item() == pytest.approx(bound, rel=1e-3) and reported == norm
    torch.testing.assert_close(clipped - start, (free - start) / 5, rtol=1e-3, atol=1e-5)


def test_a_shorter_gradient_keeps_its_bits() -> None:
    _, free, norm = moved(config.Optimizer())
    assert moved(config.Optimizer(clip_norm=1.01 * norm))[1].equal(free)


def test_adamw_decays_the_weights_apart_from_their_gradients() -> None:
    start, adam, _ = moved(config.Optimizer(lr=1e-2))
    _, decayed, _ = moved(config.Optimizer(name="adamw", lr=1e-2, weight_decay=0.1))
    _, l2, _ = moved(config.Optimizer(lr=1e-2, weight_decay=0.1))
    torch.testing.assert_close(decayed, adam - 1e-2 * 0.1 * start)
    assert not torch.allclose(l2, decayed, atol=1e-4)
