"""Activation checkpointing: it keeps less, gives the same bits, and observes nothing twice."""

import copy
from collections.abc import Callable

import pytest
import torch
from harness import spawn
from small_games import SAMPLES, Witness, batch_of, game_of, networks
from torch import nn

from scalegan.averages.ema import Ema
from scalegan.config import loading
from scalegan.data.spec import Spec
from scalegan.engines.ddp import DDPEngine
from scalegan.engines.ranks import Ranks
from scalegan.games.base import Batch
from scalegan.games.gan.game import GAN
from scalegan.losses import LOSSES
from scalegan.models import dcgan
from scalegan.models.layers.recompute import recompute_blocks
from scalegan.models.layers.tracked import tracked_modules
from scalegan.training.build import game as build_game

FAMILIES = ("dcgan", "biggan", "biggan_deep", "stylegan2", "r3gan", "gat")
#: Phases with exact penalties keep what these need (R3GAN's D out of sight of `kept`).
PENALISED = {"stylegan2": {"G.path", "D.r1"}, "r3gan": {"D"}}


def kept(loss: Callable[[Batch], object], batch: Batch, networks: nn.Module) -> int:
    """Bytes that are kept for the backward pass, besides the networks themselves."""
    own = {tensor.untyped_storage().data_ptr() for tensor in networks.state_dict().values()}
    found: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        found[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss(batch)
    for module in tracked_modules(networks):
        module.drain()
    return sum(tensor.untyped_storage().nbytes() for place, tensor in found.items() if place not in own)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_and_state_are_the_same_bits_and_less_is_kept(family: str, precision: str) -> None:
    nets = networks(family)
    plain, other = game_of(family, *copy.deepcopy(nets)), game_of(family, *nets)
    for player in other.players.values():
        recompute_blocks(player)
    assert list(plain.state_dict()) == list(other.state_dict())
    for index, phase in enumerate(plain.phases):
        batch = batch_of(family, phase.name)
        found = []
        for game in (plain, other):
            witnesses = {name: Witness(player) for name, player in game.players.items()}
            engine = DDPEngine(game, witnesses, Ranks(0, 1, torch.device("cpu")), SAMPLES, precision)
            engine.update(game.phases[index], batch)
            found.append(witnesses[phase.players[0]].found)
        assert all(torch.equal(one, two) for one, two in zip(*found, strict=True)), phase.name
        assert all(torch.equal(one, two) for one, two in zip(plain.state_dict().values(), other.state_dict().values()))
        if precision == "fp32":
            before, after = (kept(game.phases[index].loss, batch, game) for game in (plain, other))
            assert after <= before
            assert after < 0.6 * before or phase.name in PENALISED.get(family, ()), phase.name


def test_the_key_reaches_the_networks_and_a_copy_recomputes_itself() -> None:
    tree = {"run_dir": "-", "total_images": 1, "data": {"path": "-", "resolution": 16}, "precision": "fp32",
            "model": {"name": "dcgan", "width": 4}, "engine": {"activation_checkpointing": True}}
    game = build_game(loading.parse(tree, "test"), {"real": Spec("image", (3, 16, 16))})
    average = Ema(game.players["G"], 100).average
    patched = [module for module in average.modules() if "forward" in vars(module)]
    assert patched and all(module.forward.__self__ is module for module in patched)
    with torch.no_grad():
        for parameter in game.players["G"].parameters():
            parameter.zero_()
    assert average(torch.ones(2, 100)).abs().sum() > 0


@pytest.mark.parametrize("keys", [{"game": {"name": "cgan"}}, {
    "game": {"name": "unrolled", "steps": 2}, "model": {"name": "r3gan", "width": 8, "cardinality": 2}}],
    ids=["layers that draw", "weights that stand in for D's"])
@pytest.mark.parametrize("player, index", [("G", 1), ("D", 0)])
def test_what_is_repeated_is_what_was_done(keys: dict, player: str, index: int) -> None:
    tree = {"run_dir": "-", "total_images": 1, "data": {"path": "-", "resolution": 16, "labels": "class"}, **keys}
    found = []
    for again in (False, True):
        game = build_game(loading.parse({**tree, "engine": {"activation_checkpointing": again}}, "test"),
                          {"real": Spec("image", (3, 16, 16), classes=4)})
        witnesses = {name: Witness(network) for name, network in game.players.items()}
        batch = batch_of("biggan", player)
        batch = Batch.of(batch.reals[:, :, :16, :16].contiguous(), batch.draws, batch.labels, batch.labels)
        DDPEngine(game, witnesses, Ranks(0, 1, torch.device("cpu")), SAMPLES).update(game.phases[index], batch)
        found.append(witnesses[player].found)
    assert all(torch.equal(one, two) for one, two in zip(*found, strict=True))


def _over_ranks(ranks: Ranks, recomputed: bool) -> list[torch.Tensor]:
    """Gradients of a first D update whose norm groups span both ranks."""
    nets = [dcgan.Generator(32, width=8, latent_dim=12, norm_group=SAMPLES),
            dcgan.Discriminator(32, width=8, norm_group=SAMPLES)]
    for network in nets:
        network.initialise(lambda name: torch.Generator().manual_seed(len(name)))
        if recomputed:
            recompute_blocks(network)
    game = GAN(*nets, LOSSES["non_saturating"])
    share = SAMPLES // ranks.world_size
    witnesses = {name: Witness(player) for name, player in game.players.items()}
    batch = batch_of("dcgan", "D")[ranks.rank * share : (ranks.rank + 1) * share]
    DDPEngine(game, witnesses, ranks, share).update(game.phases[0], batch)
    return witnesses["D"].found


@pytest.mark.slow
def test_norm_groups_that_span_ranks_are_recomputed_together() -> None:
    plain, recomputed = (spawn(2, _over_ranks, flag) for flag in (False, True))
    for one, two in zip(plain, recomputed, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
