"""Games with labels, of several levels, of two domains, of volumes or of texts: the same bits on 1, 2 and 4 ranks with
tree reduction; ZeRO-1 and larger micro-batches agree."""

import importlib.util

import pytest
import torch
from harness import spawn
from small_games import (
    AGAINST_COLLAPSE,
    CONDITIONAL,
    COUPLED,
    FACES,
    SAMPLES,
    TEXTS,
    VOLUMES,
    batch_for,
    conditional,
    coupled,
    faces,
    texts,
    volumes,
)
from torch import Tensor

from scalegan import config
from scalegan.engines import choice, optimizers
from scalegan.engines.ranks import Ranks
from scalegan.randomness import Draws, parameter_generators

pytestmark = pytest.mark.slow

TREE, FAST = config.Engine(reduction="tree"), config.Engine()
ZERO = config.Engine(name="deepspeed", zero_stage=1)
BATCH, ITERATIONS = 2 * SAMPLES, 2
MADE_BY = {**dict.fromkeys((*CONDITIONAL, *AGAINST_COLLAPSE), conditional), **dict.fromkeys(COUPLED, coupled),
           **dict.fromkeys(FACES, faces), **dict.fromkeys(VOLUMES, volumes),
           **dict.fromkeys(TEXTS, texts)}
GAMES = tuple(MADE_BY)
OF_MICRO_BATCHES = {"consensus"}     # some term is defined over the samples of a micro-batch
Weights = dict[str, dict[str, Tensor]]


def trained(ranks: Ranks, engine: config.Engine, micro_batch: int = 4) -> Weights:
    """Each game's parameters and buffers after two iterations."""
    found = {}
    for name, made_by in MADE_BY.items():
        game, specs = made_by(name)
        for player, network in game.players.items():
            network.initialise(parameter_generators(0, player))
        plain = dict.fromkeys(game.players, config.Optimizer(name="sgd", lr=0.01))   # Adam would enlarge differences
        machine = choice.make(engine, game, optimizers.make(plain, game), ranks, micro_batch, "fp32")
        share = BATCH // ranks.world_size
        mine = slice(ranks.rank * share, (ranks.rank + 1) * share)
        for iteration in range(ITERATIONS):
            for phase in game.phases:
                draws = Draws(0, 0, phase.name, torch.arange(BATCH) + BATCH * iteration)
                machine.update(phase, batch_for(specs, draws)[mine])
        found[name] = {key: value.detach().clone() for key, value in game.state_dict().items()}
    return found


@pytest.fixture(scope="module")
def alone() -> Weights:
    return spawn(1, trained, TREE)[0]


@pytest.fixture(scope="module", params=[2, 4], ids=["2 ranks", "4 ranks"])
def spread(request: pytest.FixtureRequest) -> Weights:
    return spawn(request.param, trained, TREE)[-1]


@pytest.fixture(scope="module", params=["ZeRO-1 on 2 ranks", "micro-batches twice as large"])
def otherwise(request: pytest.FixtureRequest) -> Weights:
    if request.param.startswith("micro"):
        return spawn(1, trained, FAST, 8)[0]
    if importlib.util.find_spec("deepspeed") is None:
        pytest.skip("deepspeed is not installed")
    return spawn(2, trained, ZERO)[-1]


@pytest.mark.parametrize("name", GAMES)
def test_more_ranks_give_the_same_bits(name: str, spread: Weights, alone: Weights) -> None:
    assert all(value.equal(alone[name][key]) for key, value in spread[name].items())


@pytest.mark.parametrize("name", GAMES)
def test_another_order_of_sums_gives_nearly_the_same(name: str, otherwise: Weights, alone: Weights,
                                                     request: pytest.FixtureRequest) -> None:
    if name in OF_MICRO_BATCHES and "micro-batches" in request.node.name:
        assert not all(torch.allclose(value, alone[name][key], rtol=1e-3) for key, value in otherwise[name].items())
        return
    for key, value in otherwise[name].items():
        assert torch.allclose(value, alone[name][key], rtol=1e-3, atol=1e-4), key
