"""Loss scales of fp16: one per phase, and those of format 1, which were one per player."""

import torch

from scalegan.engines.ddp import DDPEngine
from scalegan.engines.ranks import Ranks
from scalegan.games.base import Batch, Game, Phase
from scalegan.models import mlp
from scalegan.randomness import Draws


class Overflowing(Game):
    """Two phases of one player; the gradients of the second are beyond fp16 until its scale is lowered."""

    def __init__(self) -> None:
        super().__init__()
        self.D = mlp.Discriminator((2,), 4, 1)
        self.players = {"D": self.D}
        self.phases = [Phase("D", ("D",), lambda batch: {"mild": 1e-3 * self.D(batch.reals).float().mean()}),
                       Phase("D.wild", ("D",), lambda batch: {"wild": 1e35 * self.D(batch.reals).float().mean()})]


def engine() -> DDPEngine:
    game, alone = Overflowing(), Ranks(0, 1, torch.device("cpu"))
    return DDPEngine(game, {"D": torch.optim.SGD(game.D.parameters(), 0.0)}, alone, 8, "fp16")


def test_an_overflow_lowers_the_scale_of_its_phase_alone() -> None:
    one = engine()
    first = one.state()["scalers"]
    assert first.keys() == {"D", "D.wild"}
    for position in range(3):
        for phase in one.game.phases:
            one.update(phase, Batch.of(torch.ones(8, 2), Draws(0, 0, phase.name, torch.arange(8) + 8 * position)))
    now = one.state()["scalers"]
    assert now["D"]["scale"] == first["D"]["scale"] and now["D.wild"]["scale"] < first["D.wild"]["scale"]
    assert one.state()["health"]["D.wild"]["overflows"] == 3 and one.state()["health"]["D"]["overflows"] == 0


def test_scales_of_format_1_are_those_of_the_first_player() -> None:
    one = engine()
    old = one.state()["scalers"]["D"] | {"scale": 128.0}
    one.restore({"scalers": {"D": old}})
    assert {name: state["scale"] for name, state in one.state()["scalers"].items()} == {"D": 128.0, "D.wild": 128.0}
