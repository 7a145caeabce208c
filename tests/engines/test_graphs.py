"""Passes that are recorded once and replayed: the same bits as without, and eager where they must not be recorded.

A recorder that runs the work again stands for CUDA's: like a graph, it reads and writes the memory of the recording.
"""

from dataclasses import replace
from typing import Any

import pytest
import torch
from small_games import batch_of, game_of, networks

from scalegan.augment import Augment
from scalegan.augment.ada import Ada, Given
from scalegan.augment.instance_noise import InstanceNoise
from scalegan.config import Schedule
from scalegan.engines.ddp import DDPEngine
from scalegan.engines.graphs import Graphs
from scalegan.engines.ranks import Ranks
from scalegan.games.base import Batch, Phase
from scalegan.games.gan.game import GAN
from scalegan.games.penalties.gradient_norm import R1R2Penalty
from scalegan.games.pool import Pool
from scalegan.randomness import Draws

UPDATES = 6


class Recorder:
    """Counts recordings and replays."""

    def __init__(self) -> None:
        self.recorded = self.replayed = 0

    def __call__(self, work: Any) -> tuple[Any, Any]:
        self.recorded += 1
        places = work()

        def replay() -> None:
            self.replayed += 1
            for key, value in work().items():
                places[key].copy_(value)
        return places, replay


def batch(family: str, phase: Phase, number: int, attempt: int = 0) -> Batch:
    """Other samples, conditions, draws and images seen, each time."""
    whole = batch_of(family, phase.name)
    positions = torch.arange(len(whole)) + number * len(whole)
    streams = {name: replace(sample, data=sample.data.roll(number, 0)) for name, sample in whole.streams.items()}
    given = {name: condition.roll(number) for name, condition in whole.given.items()}
    draws = Draws(3, attempt, phase.name, positions)
    return replace(whole, streams=streams, given=given, images=100 * number, draws=draws)


def trained(family: str, micro_batch: int, graphs: Graphs | None, rollback: bool = False, augment: Any = None,
            gamma: Any = None) -> dict:
    """Weights, state, and the figures of all updates."""
    game: GAN = game_of(family, *networks(family))
    game.augment = augment or game.augment
    for penalty in game.penalties:
        if gamma and isinstance(penalty, R1R2Penalty):
            penalty.gamma = gamma
    optimizers = {name: torch.optim.Adam(player.parameters(), 1e-3) for name, player in game.players.items()}
    engine = DDPEngine(game, optimizers, Ranks(0, 1, torch.device("cpu")), micro_batch, graphs=graphs)
    found = {}
    for number in range(UPDATES):
        for phase in game.phases:
            attempt = int(rollback and number == UPDATES - 1)
            for name, value in engine.update(phase, batch(family, phase, number, attempt)).items():
                found[f"{phase.name} {number} {name}"] = value
    return found | game.state_dict()


def check_same(found: dict, expected: dict) -> None:
    assert found.keys() == expected.keys()
    assert not [name for name in expected if not found[name].equal(expected[name])]


@pytest.mark.parametrize("family, micro_batch", [
    pytest.param("dcgan", 8, id="one micro-batch"),
    pytest.param("dcgan", 4, id="two micro-batches"),
    pytest.param("biggan", 8, id="classes", marks=pytest.mark.slow),
    pytest.param("biggan_deep", 8, id="deep blocks", marks=pytest.mark.slow),
    pytest.param("stylegan2", 8, id="lazy penalties", marks=pytest.mark.slow),
])
def test_replays_give_the_same_bits(family: str, micro_batch: int) -> None:
    recorder = Recorder()
    check_same(trained(family, micro_batch, Graphs(recorder)), trained(family, micro_batch, None))
    phases = len(game_of(family, *networks(family)).phases)
    passes = phases * UPDATES * 8 // micro_batch
    assert (recorder.recorded, recorder.replayed) == (phases, passes - 3 * phases)


def test_other_draws_after_a_rollback_are_recorded_anew() -> None:
    recorder = Recorder()
    check_same(trained("dcgan", 8, Graphs(recorder), rollback=True), trained("dcgan", 8, None, rollback=True))
    assert recorder.recorded == 4


@pytest.mark.parametrize("augment", [
    lambda: Ada({"blit": 1.0, "colour": 0.5}, Given(Schedule(start=0.1, end=0.99, images=400))),
    lambda: InstanceNoise(Augment(), Schedule(start=0.5, end=0.1, images=1000)),
], ids=["ADA's p, which reaches its limit", "instance noise"])
def test_a_recording_follows_augmentation_that_follows_a_schedule(augment: Any) -> None:
    recorder = Recorder()
    found = trained("dcgan", 8, Graphs(recorder), augment=augment())
    check_same(found, trained("dcgan", 8, None, augment=augment()))
    assert (recorder.recorded, recorder.replayed) == (2, 2 * (UPDATES - 3))


@pytest.mark.slow
@pytest.mark.parametrize("family", ["r3gan", "stylegan2"], ids=["in every update", "lazy"])
def test_a_recording_follows_gammas_that_follow_a_schedule(family: str) -> None:
    recorder, gamma = Recorder(), Schedule(start=7.3, end=0.1, images=700)
    found = trained(family, 8, Graphs(recorder), gamma=gamma)
    check_same(found, trained(family, 8, None, gamma=gamma))
    phases = len(game_of(family, *networks(family)).phases)
    assert (recorder.recorded, recorder.replayed) == (phases, phases * (UPDATES - 3))


def test_what_depends_on_images_otherwise_is_never_recorded() -> None:
    class Sudden(Augment):
        def forward(self, images: torch.Tensor, draws: Draws, seen: int) -> torch.Tensor:
            return images * 2 if seen >= 400 else images

    with pytest.warns(RuntimeWarning, match="phase . runs without a CUDA graph: a value depends on the images seen"):
        found = trained("dcgan", 8, Graphs(Recorder()), augment=Sudden())
    check_same(found, trained("dcgan", 8, None, augment=Sudden()))


def test_a_pass_whose_samples_enter_a_pool_is_not_recorded() -> None:
    def play(graphs: Graphs | None) -> dict:
        game = game_of("dcgan", *networks("dcgan"))
        game.pool, real = Pool(8, (3, 32, 32), 8), game.phases[0].loss

        def loss(given: Batch) -> dict:
            return real(given) | {"pool": game.D(game.pool.exchange(given, given.reals)).mean()}
        phase = replace(game.phases[0], loss=loss)
        engine = DDPEngine(game, {name: torch.optim.SGD(p.parameters(), 1e-2) for name, p in game.players.items()},
                           Ranks(0, 1, torch.device("cpu")), 8, graphs=graphs)
        for number in range(UPDATES):
            engine.update(phase, batch("dcgan", phase, number))
        return game.state_dict()
    recorder = Recorder()
    check_same(play(Graphs(recorder)), play(None))
    assert not recorder.recorded
