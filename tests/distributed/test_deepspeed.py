"""The DeepSpeed engine gives the results of the DDP engine, and of one process."""

import importlib.util
from dataclasses import replace
from functools import partial

import pytest
import torch
from harness import spawn
from small_games import aae, avb, bigan, infogan
from test_gradients import ALONE, assert_close, make_batch, make_game
from torch import Tensor

from scalegan import config
from scalegan.engines import choice, optimizers
from scalegan.engines.base import Engine
from scalegan.engines.ranks import Ranks
from scalegan.games.base import Batch, Game, Phase
from scalegan.randomness import Draws, parameter_generators

pytestmark = [pytest.mark.slow,
              pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="deepspeed is not installed")]

DDP = config.Engine()
ZERO = [config.Engine(name="deepspeed", zero_stage=stage) for stage in (0, 1, 2)]


def make_engine(settings: config.Engine, game: Game, ranks: Ranks, micro_batch: int, optimizer: str = "adam",
                precision: str = "fp32") -> Engine:
    adam = config.Optimizer(name=optimizer, lr=2e-4, betas=(0.5, 0.999))
    of_players = optimizers.make(dict.fromkeys(game.players, adam), game)
    return choice.make(settings, game, of_players, ranks, micro_batch, precision)


def my_share(batch: Batch, ranks: Ranks) -> Batch:
    share = len(batch) // ranks.world_size
    return batch[ranks.rank * share : (ranks.rank + 1) * share]


def first_gradients(ranks: Ranks, settings: config.Engine, micro_batch: int, norm_group: int | str,
                    optimizer: str = "adam") -> dict[str, Tensor]:
    """Gradients of every phase of the first iteration, with R1 as a term of D's phase, and as a separate phase."""
    found = {}
    for r1_every in (1, 2):
        game = make_game(norm_group, torch.float32, r1_every)
        engine = make_engine(settings, game, ranks, micro_batch, optimizer)
        for phase in game.phases:
            batch = my_share(make_batch(torch.float32), ranks)
            found |= {f"{r1_every}/{phase.name}/{name}": g for name, g in engine.gradients(phase, batch).items()}
            engine.update(phase, batch)
    return found


@pytest.fixture(scope="module")
def expected() -> dict[str, Tensor]:
    """Gradients of one process, with all 64 samples in one micro-batch."""
    return first_gradients(ALONE, DDP, 64, 16)


@pytest.mark.parametrize("settings, world, micro_batch", [
    pytest.param(DDP, 2, 32, id="DDP on 2"), pytest.param(DDP, 2, 8, id="DDP on 2, 4 micro-batches"),
    *(pytest.param(zero, 2, 32, id=f"ZeRO-{zero.zero_stage} on 2") for zero in ZERO),
    pytest.param(ZERO[1], 2, 16, id="ZeRO-1 on 2, 2 micro-batches"),
    pytest.param(ZERO[2], 2, 16, id="ZeRO-2 on 2, 2 micro-batches"),
    pytest.param(ZERO[2], 1, 16, id="ZeRO-2 on 1, 4 micro-batches")])
def test_first_gradients_are_those_of_one_process(settings: config.Engine, world: int, micro_batch: int,
                                                  expected: dict[str, Tensor]) -> None:
    if micro_batch < 16:
        expected = first_gradients(ALONE, DDP, 64, micro_batch)
    for found in spawn(world, first_gradients, settings, micro_batch, min(micro_batch, 16)):
        assert_close(found, expected, 1e-5)
    assert {name.split("/")[1] for name in expected} == {"D", "D.r1", "G"}


@pytest.mark.parametrize("zero", ZERO[1:], ids=["ZeRO-1", "ZeRO-2"])
def test_norm_groups_over_ranks_are_those_of_the_joined_batch(zero: config.Engine) -> None:
    expected = first_gradients(ALONE, DDP, 64, "batch")
    for found in spawn(2, first_gradients, zero, 32, "batch"):
        assert_close(found, expected, 1e-5)


def weights_after(ranks: Ranks, settings: config.Engine, iterations: int, micro_batch: int, dtype: torch.dtype,
                  optimizer: str = "adam") -> dict[str, Tensor]:
    game = make_game(16, dtype, 2)
    engine = make_engine(settings, game, ranks, micro_batch, optimizer)
    for number in range(iterations):
        for phase in game.phases:
            batch = make_batch(dtype)
            draws = Draws(0, 0, phase.name, torch.arange(64) + 64 * number)
            engine.update(phase, my_share(replace(batch, draws=draws), ranks))
    return {name: parameter.detach().clone() for name, parameter in game.named_parameters()}


def test_weights_after_20_updates_in_float64_on_2_ranks_and_on_1() -> None:
    expected = weights_after(ALONE, DDP, 20, 64, torch.float64)
    for found in spawn(2, weights_after, DDP, 20, 32, torch.float64):
        assert_close(found, expected, 1e-9)


@pytest.mark.parametrize("zero, optimizer", [(ZERO[0], "adam"), (ZERO[1], "adam"), (ZERO[2], "adam"),
                                             (ZERO[2], "rmsprop"), (ZERO[1], "sgd")],
                         ids=["ZeRO-0", "ZeRO-1", "ZeRO-2", "ZeRO-2, RMSprop", "ZeRO-1, SGD"])
def test_weights_after_5_updates(zero: config.Engine, optimizer: str) -> None:
    expected = weights_after(ALONE, DDP, 5, 64, torch.float32, optimizer)
    start = {name: p.detach() for name, p in make_game(16, torch.float32, 2).named_parameters()}
    assert all(not torch.equal(expected[name], start[name]) for name in expected)
    for found in spawn(2, weights_after, zero, 5, 32, torch.float32, optimizer):
        assert_close(found, expected, 1e-4)


TWO_MOVERS = {"infogan": (infogan, 1), "aae": (partial(aae, {"name": "dcgan", "width": 4, "latent_dim": 3}), 0),
              "avb": (avb, 0), "bigan": (partial(bigan, (3, 16, 16)), 1)}


def two_movers(ranks: Ranks, name: str, settings: config.Engine, micro_batch: int,
               ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A phase that moves two players (InfoGAN's G and Q, an autoencoder's E and Dec, BiGAN's E and G): its gradients,
    and the weights after three updates."""
    make, number = TWO_MOVERS[name]
    game = make()
    for player, network in game.players.items():
        network.initialise(parameter_generators(0, player))
    engine = make_engine(settings, game, ranks, micro_batch)
    phase: Phase = game.phases[number]
    batch = make_batch(torch.float32)
    batch = my_share(Batch.of(batch.reals, batch.draws), ranks)
    gradients = engine.gradients(phase, batch)
    for _ in range(3):
        engine.update(phase, batch)
    weights = {name: p.detach().clone() for name, p in game.named_parameters()}
    for found in (gradients, weights):
        found.pop("Q.hidden.bias", None)    # before BatchNorm: its gradient is nothing but rounding
    return gradients, weights


@pytest.mark.parametrize("name, movers", [("infogan", {"G", "Q"}), ("aae", {"E", "Dec"}),
                                          ("avb", {"E", "Dec"}), ("bigan", {"E", "G"})])
@pytest.mark.parametrize("zero", ZERO, ids=["ZeRO-0", "ZeRO-1", "ZeRO-2"])
def test_a_phase_that_moves_two_players(zero: config.Engine, name: str, movers: set[str]) -> None:
    expected, weights = two_movers(ALONE, name, DDP, 64)
    assert {parameter.split(".")[0] for parameter in expected} == movers
    for found, found_weights in spawn(2, two_movers, name, zero, 16):
        assert_close(found, expected, 1e-5)
        assert_close(found_weights, weights, 1e-4)


def in_half(ranks: Ranks, precision: str) -> list[tuple[dict[str, Tensor], dict]]:
    """Weights and saved state after three updates of each phase under both engines."""
    results = []
    for settings in (DDP, ZERO[2]):
        game = make_game(16, torch.float32, 2)
        engine = make_engine(settings, game, ranks, 16, precision=precision)
        for phase in game.phases:
            for _ in range(3):
                engine.update(phase, my_share(make_batch(torch.float32), ranks))
        again = make_engine(settings, make_game(16, torch.float32, 2), ranks, 16, precision=precision)
        again.restore(engine.state())
        assert again.state() == engine.state()
        results.append(({name: p.detach().clone() for name, p in game.named_parameters()}, engine.state()))
    return results


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_and_its_loss_scales(precision: str) -> None:
    """Master weights stay in fp32; both engines have the same loss scales, so that each can restore the other's."""
    full = weights_after(ALONE, DDP, 0, 64, torch.float32)
    first, second = spawn(2, in_half, precision)
    for (ddp, state), (zero, state_of_zero) in (first, second):
        assert state == state_of_zero
        assert all(counts["skipped"] == 0 for counts in state["health"].values())
        assert_close(zero, ddp, 1e-3)
        assert {p.dtype for p in zero.values()} == {torch.float32}
        assert all(not torch.equal(zero[name], full[name]) for name in full)
    assert all(torch.equal(first[1][0][name], second[1][0][name]) for name in full)
    assert set(state["scalers"]) == ({"G", "D", "D.r1"} if precision == "fp16" else set())
    if precision == "fp16":  # the penalty's gradients overflow at first
        assert state["health"]["D.r1"]["overflows"] > 0 and state["scalers"]["D.r1"]["scale"] < 2**16
