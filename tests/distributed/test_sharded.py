"""FSDP and ZeRO-3 give the results of one process: every family, exact penalties and approximated ones, any game."""

import importlib.util
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import pytest
import torch
from harness import spawn
from small_games import aae, avb, bigan, infogan
from test_deepspeed import first_gradients, my_share
from test_gradients import ALONE, assert_close, make_batch, make_game
from torch import Tensor

from scalegan import config
from scalegan.config import loading
from scalegan.data.spec import Spec
from scalegan.engines import choice, optimizers
from scalegan.engines.base import Engine
from scalegan.engines.partitioned import Partitioned, gather
from scalegan.engines.ranks import Ranks
from scalegan.errors import RecipeError
from scalegan.games.base import Batch, Game
from scalegan.randomness import Draws, parameter_generators
from scalegan.training import build

pytestmark = pytest.mark.slow
needs_deepspeed = pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="deepspeed is not installed")

DDP, FSDP = config.Engine(), config.Engine(name="fsdp")
ZERO_3 = config.Engine(name="deepspeed", zero_stage=3)
SAMPLES, SHAPE = 16, (3, 32, 32)
FAMILIES = {
    "dcgan": {"name": "dcgan", "width": 4, "latent_dim": 8, "norm_group": 4},
    "mlp": {"name": "mlp", "latent_dim": 4, "hidden": 10, "layers": 2},
    "stylegan2": {"name": "stylegan2", "channel_base": 256, "channel_max": 16, "latent_dim": 16, "w_dim": 16,
                  "mapping_layers": 2, "mbstd_group": 4},
    "r3gan": {"name": "r3gan", "width": 16, "cardinality": 4, "blocks": 1, "latent_dim": 8},
    "biggan": {"name": "biggan", "width": 4, "latent_dim": 8, "norm_group": 4},
    "gat": {"name": "gat", "depth": 4, "width": 32, "heads": 4, "patch": 8, "outputs": 2, "label_dim": 16,
            "latent_dim": 8},
    "biggan_deep": {"name": "biggan_deep", "width": 4, "latent_dim": 8, "shared_dim": 8, "attention": [16],
                    "norm_group": 4},
}
FINITE = {"gamma": 1, "method": "finite_difference", "sigma": 0.1}
# By name: penalties, loss, and players that every phase calls through `forward` alone and differentiates once.
OBJECTIVES = {
    "exact": ({"r1": {"gamma": 1}, "r2": {"gamma": 1}}, "relativistic", {"G"}),
    "lazy": ({"r1": {"gamma": 1, "every": 2}}, "non_saturating", {"G"}),
    "finite": ({"r1": FINITE, "r2": FINITE}, "relativistic", {"G", "D"}),
}


def made(family: str, objective: str, engine: Mapping[str, object] | None = None) -> Game:
    penalties, loss, by_forward = OBJECTIVES[objective]
    recipe = loading.parse({
        "run_dir": "-", "total_images": 64, "batch_size": SAMPLES, "lanes": 4, "micro_batch_size": 4,
        "data": {"path": "-", "resolution": 32, "labels": "class"}, "model": FAMILIES[family],
        "engine": dict(engine or {}), "game": {"loss": loss, "penalties": penalties}}, "test")
    game = build.game(recipe, {"real": Spec("image", SHAPE, classes=4)})
    assert game.by_forward == by_forward - ({"G"} if family == "stylegan2" else set())
    return game


def engine_of(settings: config.Engine, game: Game, ranks: Ranks, micro_batch: int = 4) -> Engine:
    adam = config.Optimizer(lr=2e-4, betas=(0.5, 0.999), eps=1e-2)      # what is nothing but rounding moves nothing
    return choice.make(settings, game, optimizers.make(dict.fromkeys(game.players, adam), game), ranks, micro_batch,
                       "fp32")


def share(ranks: Ranks, name: str, number: int = 0, labels: bool = True) -> Batch:
    draws = Draws(0, 0, name, torch.arange(SAMPLES) + SAMPLES * number)
    of_data = Draws(1, 0, "data", torch.arange(SAMPLES))
    reals = of_data.uniform("reals", *SHAPE) * 2 - 1
    classes = (of_data.integers("labels", 4), of_data.integers("fake labels", 4)) if labels else ()
    here = SAMPLES // ranks.world_size
    return Batch.of(reals, draws, *classes)[ranks.rank * here : (ranks.rank + 1) * here]


def wholes(tensors: Mapping[str, Tensor | Partitioned]) -> dict[str, Tensor]:
    parts = {name: tensor for name, tensor in tensors.items() if isinstance(tensor, Partitioned)}
    found = {name: t for name, t in tensors.items() if name not in parts} | (gather(parts) if parts else {})
    return {name: tensor.detach().clone() for name, tensor in found.items()}


def played(ranks: Ranks, settings: config.Engine, cases: list[tuple[str, str]], micro_batch: int,
           ) -> dict[str, dict[str, Tensor]]:
    """By case: the gradients of every phase, and every tensor of the game, its average and its optimizers' moments
    after three iterations, between whose backward passes and steps networks are called without gradients."""
    found = {}
    for family, objective in cases:
        game = made(family, objective)
        engine = engine_of(settings, game, ranks, micro_batch)
        gradients = {f"{phase.name}/{name}": gradient for phase in game.phases
                     for name, gradient in engine.gradients(phase, share(ranks, phase.name)).items()}
        for number in range(3):
            for phase in game.phases:
                pending = engine.differentiate(phase, share(ranks, phase.name, number))
                if "G" in game.by_forward:
                    with torch.no_grad():
                        look = share(ranks, "look", number)[:micro_batch]
                        game.fakes_of(game.compiled["G"], look, look.labels)
                engine.step(pending)
        found[f"{family} {objective}"] = {**gradients, **wholes(engine.tensors())}
    return found


def check(settings: config.Engine, cases: list[tuple[str, str]], world: int, micro_batch: int) -> None:
    expected = played(ALONE, DDP, cases, micro_batch)
    for found in spawn(world, played, settings, cases, micro_batch):
        for case, tensors in expected.items():
            assert found[case].keys() == tensors.keys(), case
            start = wholes({f"game/{name}": tensor for name, tensor in made(*case.split()).state_dict().items()})
            for name, value in tensors.items():
                # BigGAN's finite differences amplify rounding, and the iterations do so again.
                size, tolerance = ((value - start[name]), 0.1) if name in start else (value, 1e-3)
                error = (found[case][name] - value).float().norm()
                assert error <= tolerance * size.float().norm() + 1e-5, f"{case}: {name} differs by {error}"


FINITE_CASES = [(family, "finite") for family in FAMILIES]


@pytest.mark.parametrize("cases, world", [
    ([*FINITE_CASES, ("r3gan", "exact"), ("stylegan2", "lazy"), ("biggan", "lazy")], 2),
    ([*FINITE_CASES, ("r3gan", "exact")], 4)], ids=["2 ranks", "4 ranks"])
def test_every_family_under_fsdp(cases: list[tuple[str, str]], world: int) -> None:
    check(FSDP, cases, world, 4)


@needs_deepspeed
@pytest.mark.parametrize("cases, world", [([case for case in FINITE_CASES if case[0] != "stylegan2"], 2),
                                          ([("r3gan", "finite")], 4)], ids=["2 ranks", "4 ranks"])
def test_every_family_under_zero_3(cases: list[tuple[str, str]], world: int) -> None:
    check(ZERO_3, cases, world, 4)


@needs_deepspeed
@pytest.mark.parametrize("family, objective, named", [("r3gan", "exact", "D"), ("stylegan2", "finite", "G")])
def test_zero_3_refuses_games_that_need_whole_weights(family: str, objective: str, named: str) -> None:
    with pytest.raises(RecipeError, match=f"does not train {named} in this game.*finite_difference.*engine.name=fsdp"):
        engine_of(ZERO_3, made(family, objective), ALONE)


@pytest.mark.parametrize("world, micro_batch", [(2, 32), (4, 16)])
def test_first_gradients_are_those_of_one_process(world: int, micro_batch: int) -> None:
    """With R1 as a term of D's phase, and as a separate one."""
    expected = first_gradients(ALONE, DDP, 64, 16)
    for found in spawn(world, first_gradients, FSDP, micro_batch, 16):
        assert_close(found, expected, 1e-5)


@needs_deepspeed
def test_weights_under_zero_3_are_those_of_one_process() -> None:
    case = [("r3gan", "finite")]
    expected, = played(ALONE, DDP, case, 4).values()
    for found in spawn(2, played, ZERO_3, case, 4):
        assert_close(found["r3gan finite"], expected, 1e-4)


def test_compiled_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced, with eager kernels; FSDP2's hooks are graph breaks, and exact penalties stay in one graph."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    for family, objective in (("r3gan", "finite"), ("mlp", "exact")):
        of_phases = []
        for compiled in (False, True):
            game = made(family, objective, {"compile": compiled})
            engine = engine_of(FSDP, game, ALONE)
            of_phases.append({f"{phase.name}/{name}": gradient for phase in game.phases
                              for name, gradient in engine.gradients(phase, share(ALONE, phase.name)).items()})
        assert_close(of_phases[1], of_phases[0], 1e-5)


def in_float64(ranks: Ranks, settings: config.Engine) -> dict[str, Tensor]:
    """A DCGAN's weights after 20 iterations, with R1 every second one."""
    game = make_game(16, torch.float64, 2)
    engine = engine_of(settings, game, ranks, 32)
    for number in range(20):
        for phase in game.phases:
            draws = Draws(0, 0, phase.name, torch.arange(64) + 64 * number)
            engine.update(phase, my_share(replace(make_batch(torch.float64), draws=draws), ranks))
    return wholes(engine.tensors())


def test_20_updates_in_float64() -> None:
    expected = in_float64(ALONE, DDP)
    for found in spawn(2, in_float64, FSDP):
        assert_close(found, expected, 1e-9)


OF_THREE = {"infogan": infogan, "aae": partial(aae, {"name": "dcgan", "width": 4, "latent_dim": 3}),
            "bigan": partial(bigan, (3, 16, 16)), "avb": avb}


def of_three_players(ranks: Ranks, settings: config.Engine) -> dict[str, dict[str, Tensor]]:
    found = {}
    for name, make in OF_THREE.items():
        game = make()
        for player, network in game.players.items():
            network.initialise(parameter_generators(0, player))
        engine = engine_of(settings, game, ranks, 16)
        batch = my_share(make_batch(torch.float32), ranks)
        batch = Batch.of(batch.reals, batch.draws)
        for phase in game.phases:
            gradients = engine.gradients(phase, batch)
            found |= {f"{name} {phase.name}": gradients}
            engine.update(phase, batch)
    return found


@pytest.mark.parametrize("world", [2, 4])
def test_games_of_three_players(world: int) -> None:
    expected = of_three_players(ALONE, DDP)
    assert len(expected) >= 9
    for found in spawn(world, of_three_players, FSDP):
        for phase, gradients in expected.items():
            found[phase].pop("Q.hidden.bias", None), gradients.pop("Q.hidden.bias", None)   # nothing but rounding
            assert_close(found[phase], gradients, 1e-4)
