"""Values that are not finite stop an update before it reaches weights, optimizers or statistics, on every rank."""

import importlib.util
from collections.abc import Callable

import pytest
import torch
from harness import spawn
from torch import Tensor

from scalegan import config
from scalegan.engines import choice, optimizers
from scalegan.engines.base import Engine
from scalegan.engines.ddp import DDPEngine
from scalegan.engines.partitioned import Partitioned
from scalegan.engines.ranks import Ranks
from scalegan.games.base import Batch
from scalegan.games.gan.game import GAN
from scalegan.games.penalties.gradient_norm import R1R2Penalty
from scalegan.losses import LOSSES
from scalegan.models import biggan, dcgan
from scalegan.randomness import Draws, parameter_generators
from scalegan.training.run_log import Means

needs_deepspeed = pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="deepspeed is not installed")
ALONE = Ranks(0, 1, torch.device("cpu"))
SIDES = {"dcgan": 16, "biggan": 32}


def make_game(family: str) -> GAN:
    """A game with BatchNorm's running means (dcgan) or spectral norm's u (biggan)."""
    if family == "dcgan":
        networks = dcgan.Generator(16, 3, 4, 8), dcgan.Discriminator(16, 3, 4)
    else:
        networks = biggan.Generator(32, 3, width=4, latent_dim=8), biggan.Discriminator(32, 3, width=4)
    game = GAN(*networks, LOSSES["hinge"], {"r1": R1R2Penalty("real", 1.0, 2)})
    for name, player in game.players.items():
        player.initialise(parameter_generators(1, name))
    return game


def batch_of(phase: str, ranks: Ranks, side: int) -> Batch:
    share = 32 // ranks.world_size
    mine = slice(ranks.rank * share, (ranks.rank + 1) * share)
    reals = torch.randn(32, 3, side, side, generator=torch.Generator().manual_seed(0))
    return Batch.of(reals, Draws(0, 0, phase, torch.arange(32)))[mine]


def poison_gradient(game: GAN, player: str) -> Callable[[], None]:
    """Puts NaN into part of one gradient."""
    weight = next(p for p in game.players[player].parameters() if p.dim() > 1)

    def poisoned(gradient: Tensor) -> Tensor:
        gradient = gradient.clone()
        gradient[0] = torch.nan
        return gradient
    return weight.register_hook(poisoned).remove


def poison_loss(game: GAN, player: str) -> Callable[[], None]:
    """Makes logits infinite; their gradients stay finite."""
    return game.D.register_forward_hook(lambda module, inputs, logits: logits + torch.inf).remove


def everything(engine: Engine, of_players: optimizers.Optimizers) -> dict[str, Tensor]:
    found = {name: (tensor.part if isinstance(tensor, Partitioned) else tensor).clone()
             for name, tensor in engine.tensors().items()}
    for player, optimizer in of_players.items():
        for index, state in enumerate(optimizer.state.values()):
            found |= {f"{player}/{index}/{key}": value.clone() for key, value in state.items()}
    return found


def differing(one: dict[str, Tensor], other: dict[str, Tensor]) -> set[str]:
    return {name for name in one if not torch.equal(one[name], other[name])}


def play(ranks: Ranks, settings: config.Engine, family: str, optimizer: str, where: str,
         player: str) -> tuple[list[set[str]], list[tuple[int, int]], dict[str, list[float]]]:
    """Three updates of a player in two micro-batches each, the second poisoned on the last rank.

    Returns what each update changed, the counters after it, and the means for the log.
    """
    game = make_game(family)
    keys = config.Optimizer(name=optimizer, lr=1e-3, clip_norm=1e-3 if optimizer == "adamw" else None)
    of_players = optimizers.make(dict.fromkeys(game.players, keys), game)
    engine = choice.make(settings, game, of_players, ranks, 8, "fp32")
    phase = next(p for p in game.phases if p.name == player)
    poison = {"gradient": poison_gradient, "loss": poison_loss}[where]
    changed, health, means = [], [], Means()
    for number in range(3):
        before = everything(engine, of_players)
        mend = poison(game, player) if number == 1 and ranks.rank == ranks.world_size - 1 else lambda: None
        means.add(engine.update(phase, batch_of(player, ranks, SIDES[family])))
        mend()
        changed.append(differing(before, everything(engine, of_players)))
        health.append((int(engine.health.skipped[player]), int(engine.health.in_a_row)))
    assert all(tensor.isfinite().all() for tensor in everything(engine, of_players).values())
    return changed, health, means.state()


ADAM, LOSS, SPECTRAL, RMSPROP, SGD, CLIPPED = (
    ("dcgan", "adam", "gradient", "G"), ("dcgan", "adam", "loss", "D"), ("biggan", "adam", "gradient", "D"),
    ("dcgan", "rmsprop", "gradient", "D"), ("dcgan", "sgd", "gradient", "G"), ("dcgan", "adamw", "gradient", "D"))
LOSS_OF_G = ("dcgan", "adam", "loss", "G")
ZERO = [config.Engine(name="deepspeed", zero_stage=stage) for stage in (0, 1, 2)]


@pytest.mark.slow
@pytest.mark.parametrize("world, settings, family, optimizer, where, player", [
    *(pytest.param(1, config.Engine(), *case, id=f"DDP on 1 {case}") for case in (ADAM, LOSS, RMSPROP)),
    *(pytest.param(2, config.Engine(), *case, id=f"DDP on 2 {case}") for case in (ADAM, LOSS, SPECTRAL, RMSPROP, SGD,
                                                                                         CLIPPED)),
    *(pytest.param(2, config.Engine(name="fsdp"), *case, id=f"FSDP on 2 {case}")
      for case in (LOSS, LOSS_OF_G, SPECTRAL, RMSPROP, CLIPPED)),
    *(pytest.param(2, ZERO[stage], *case, id=f"ZeRO-{stage} on 2 {case}", marks=needs_deepspeed)
      for stage, case in ((0, ADAM), (0, RMSPROP), (1, SPECTRAL), (1, SGD), (2, ADAM), (2, LOSS), (2, RMSPROP),
                          (1, CLIPPED)))])
def test_skipped_on_every_rank(world: int, settings: config.Engine, family: str, optimizer: str, where: str,
                               player: str) -> None:
    for changed, health, means in spawn(world, play, settings, family, optimizer, where, player):
        assert changed[0] and changed[2] == changed[0], "good updates change the same tensors"
        assert changed[1] == set(), "the poisoned one changes nothing"
        assert health == [(0, 0), (1, 1), (1, 0)]
        poisoned = {f"grad_norm/{player}"} if where == "gradient" else {"fake"}
        assert {name for name, (_, count) in means.items() if count == 2} >= poisoned
        assert all(torch.tensor(total).isfinite() for total, _ in means.values())


def test_the_gradient_norm_is_that_of_the_gradients() -> None:
    game = make_game("dcgan")
    engine = DDPEngine(game, optimizers.make({"G": config.Optimizer(), "D": config.Optimizer()}, game), ALONE, 16)
    batch = batch_of("D", ALONE, 16)
    gradients = engine.gradients(game.phases[0], batch)
    assert gradients.keys() == {f"D.{name}" for name, _ in game.D.named_parameters()}
    norm = torch.cat([g.double().flatten() for g in gradients.values()]).norm().item()
    assert engine.update(game.phases[0], batch)["grad_norm/D"].item() == pytest.approx(norm, rel=1e-5)


def test_a_run_of_skipped_updates_ends_with_a_good_one_of_its_phase() -> None:
    """And survives a save."""
    engine = DDPEngine(make_game("dcgan"), {}, ALONE, 16)
    yes, no = torch.tensor(True), torch.tensor(False)
    for _ in range(3):
        engine.health.note("D", yes, no)
        engine.health.note("G", no, no)
    assert int(engine.health.in_a_row) == 3
    again = DDPEngine(make_game("dcgan"), {}, ALONE, 16)
    again.restore(engine.state())
    again.health.note("D", no, yes)  # an overflow is neither good nor bad
    assert int(again.health.in_a_row) == 3 and int(again.health.overflows["D"]) == 1
    again.health.note("D", no, no)
    assert int(again.health.in_a_row) == 0 and int(again.health.skipped["D"]) == 3
