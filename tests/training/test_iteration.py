"""The order of an iteration: which phase takes a batch, which draws it sees, which phase it waits for."""

import contextlib
import copy
from collections.abc import Mapping
from types import SimpleNamespace

import pytest
from torch import nn

from scalegan.games.base import Export, Game, Phase
from scalegan.training import build, trainer
from scalegan.training.run import Progress, Run


def loss(batch: object) -> Mapping:
    return {}


def play(phases: list[Phase], iterations: int = 1, repeats: Mapping[str, int] = {}) -> list[str]:
    """What happens, in order: batches taken, gradients of (phase, draws, number of the update), steps."""
    events: list[str] = []
    streams = SimpleNamespace(position=0)

    def take() -> dict:
        events.append("take")
        streams.position += 8
        return {"real": SimpleNamespace(position=streams.position - 8)}

    def pending(phase: Phase, batch: tuple) -> SimpleNamespace:
        events.append(f"{phase.name} by {batch[0]} {batch[1]}" if phase.draws else f"{phase.name} {batch[1]}")
        return SimpleNamespace(phase=phase)

    streams.take = take
    nothing = SimpleNamespace(update=lambda *_: contextlib.nullcontext())
    run = SimpleNamespace(
        progress=Progress(), recipe=SimpleNamespace(health=SimpleNamespace(lr_factor=1.0)), trace=nothing,
        utilisation=nothing, schedule=lambda *_: None, means=SimpleNamespace(add=lambda *_: None),
        game=SimpleNamespace(phases=phases, repeats=lambda p: repeats.get(p.name, p.updates), after=lambda *_: None),
        loader=SimpleNamespace(prepare=lambda taken: taken, batch=lambda samples, images, *about: about),
        engine=SimpleNamespace(differentiate=pending, step=lambda p: events.append(f"step {p.phase.name}") or {}))
    for _ in range(iterations):
        trainer.play_iteration(run, streams)
    return events


def test_each_update_takes_a_batch_or_shares_the_last_one() -> None:
    phases = [Phase("D", ("D",), loss, updates=2), Phase("G", ("G",), loss, fresh_batch=False)]
    assert play(phases) == ["take", "D 0", "step D", "take", "D 1", "step D", "G 0", "step G"]


def test_a_lazy_penalty_keeps_up_with_a_phase_of_more_updates() -> None:
    phases = [Phase("D", ("D",), loss, updates=5), Phase("D.r1", ("D",), loss, fresh_batch=False, every=2)]
    events = play(phases, iterations=4)
    assert [event for event in events if event.startswith("D.r1")] == [f"D.r1 {number}" for number in range(10)]
    assert events.count("take") == 20 and events[5 * 3 : 5 * 3 + 6] == ["D.r1 0", "step D.r1", "D.r1 1", "step D.r1",
                                                                        "D.r1 2", "step D.r1"]


def test_gradients_are_taken_before_either_steps_and_a_phase_in_between_does_not_wait() -> None:
    phases = [Phase("A", ("A",), loss, step_with="C"), Phase("B", ("B",), loss, fresh_batch=False),
              Phase("C", ("C",), loss, fresh_batch=False)]
    assert play(phases) == ["take", "A 0", "B 0", "step B", "C 0", "step A", "step C"]


def test_a_phase_that_waits_for_one_that_is_not_due_steps_at_the_end() -> None:
    phases = [Phase("A", ("A",), loss, step_with="C"), Phase("B", ("B",), loss, fresh_batch=False),
              Phase("C", ("C",), loss, between=(1000, None))]
    assert play(phases) == ["take", "A 0", "B 0", "step B", "step A"]


def test_shared_draws_are_those_of_the_other_phases_last_update() -> None:
    phases = [Phase("D", ("D",), loss, updates=3), Phase("Q", ("Q",), loss, fresh_batch=False, draws="D")]
    assert [event for event in play(phases, 2) if event.startswith("Q")] == ["Q by D 2", "Q by D 5"]


def test_lazy_penalties_count_the_updates_that_were_made() -> None:
    phases = [Phase("D", ("D",), loss), Phase("D.r1", ("D",), loss, every=4, fresh_batch=False)]
    assert sum(event == "step D.r1" for event in play(phases, 8)) == 2
    assert sum(event == "step D.r1" for event in play(phases, 8, {"D": 2})) == 4


def test_networks_are_yielded_in_eval_mode_and_train_on_afterwards() -> None:
    class Two(Game):
        exports = {"G": Export(("G",)), "D": Export(("D",), averaged=False)}

    game = Two()
    game.players = {name: nn.Sequential(nn.Linear(2, 2), nn.Dropout()) for name in "GD"}
    game.players["D"][1].eval()                     # stays in eval mode
    average = copy.deepcopy(game.players["G"]).eval()
    run = SimpleNamespace(_averaged=lambda: {"G": average}, game=game)
    with Run.networks(run) as networks:
        assert networks == {"G": average, "D": game.players["D"]}
        assert not any(module.training for network in networks.values() for module in network.modules())
    assert [module.training for module in game.players["D"].modules()] == [True, True, False]
    assert not average.training


@pytest.mark.parametrize("first, second", [
    (Phase("A", ("A",), loss, step_with="X"), Phase("B", ("B",), loss)),
    (Phase("A", ("A",), loss), Phase("B", ("B",), loss, step_with="A")),
    (Phase("A", ("A", "E"), loss, step_with="B"), Phase("B", ("B", "E"), loss)),
    (Phase("A", ("A",), loss, step_with="B", updates=2), Phase("B", ("B",), loss)),
])
def test_phases_that_cannot_step_together_are_refused(first: Phase, second: Phase) -> None:
    with pytest.raises(ValueError, match=r"steps with"):
        build._check_phases([first, second])
