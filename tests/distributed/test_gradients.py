"""An update's gradient is that of the whole batch, however the work is split over micro-batches and ranks."""

import copy

import numpy as np
import pytest
import torch
from harness import spawn
from torch import Tensor, nn

from scalegan.engines.ddp import DDPEngine
from scalegan.engines.ranks import Ranks
from scalegan.games.base import Batch
from scalegan.games.gan.game import GAN
from scalegan.games.penalties.gradient_norm import R1R2Penalty
from scalegan.losses import LOSSES
from scalegan.models import dcgan
from scalegan.randomness import Draws, parameter_generators

ALONE = Ranks(0, 1, torch.device("cpu"))


class Generator(dcgan.Generator):
    """DCGAN's generator, which casts z to the precision of its weights."""

    def forward(self, z: Tensor, labels: Tensor | None = None, psi: float = 1.0) -> Tensor:
        return super().forward(z.to(next(self.parameters()).dtype), labels, psi)


class Witness(torch.optim.SGD):
    """Records the gradients it is given, and leaves the weights unchanged."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__(network.parameters(), lr=0.0)
        self.names = [name for name, _ in network.named_parameters()]

    def step(self, closure: object = None) -> None:
        self.seen = {n: p.grad.clone() for n, p in zip(self.names, self.param_groups[0]["params"])}


def make_game(norm_group: int | str, dtype: torch.dtype, r1_every: int = 1) -> GAN:
    labels = {"num_classes": 4, "norm_group": norm_group}
    game = GAN(Generator(16, 3, 4, 8, **labels), dcgan.Discriminator(16, 3, 4, **labels), LOSSES["non_saturating"],
               {"r1": R1R2Penalty("real", 2.0, r1_every)})
    for name, player in game.players.items():
        player.initialise(parameter_generators(1, name))
    return game.to(dtype)


def make_batch(dtype: torch.dtype) -> Batch:
    rng = np.random.default_rng(0)
    reals = torch.from_numpy(rng.uniform(-1, 1, (64, 3, 16, 16))).to(dtype)
    labels, fake_labels = torch.from_numpy(rng.integers(0, 4, (2, 64)))
    return Batch.of(reals, Draws(0, 0, "D", torch.arange(64)), labels, fake_labels)


def gradients(ranks: Ranks, phase_name: str, micro_batch: int, norm_group: int | str, dtype: torch.dtype,
              tree: bool = False, r1_every: int = 1) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """The results of one update of a phase on 64 samples: gradients, buffers, figures."""
    game = make_game(norm_group, dtype, r1_every)
    phase = next(p for p in game.phases if p.name == phase_name)
    witnesses = {name: Witness(player) for name, player in game.players.items()}
    share = 64 // ranks.world_size
    batch = make_batch(dtype)[ranks.rank * share : (ranks.rank + 1) * share]
    figures = DDPEngine(game, witnesses, ranks, micro_batch, tree=tree).update(phase, batch)
    mover, = phase.players
    return witnesses[mover].seen, {n: b.clone() for n, b in game.named_buffers()}, figures


def r1_by_hand(norm_group: int | str) -> dict[str, Tensor]:
    """The gradient of 2 / 2 * 2 * E |grad D|^2 over the joined batch, without ScaleGAN's engine or penalty."""
    game, batch = make_game(norm_group, torch.float64, r1_every=2), make_batch(torch.float64)
    reals = batch.reals.requires_grad_(True)
    inner, = torch.autograd.grad(game.D(reals, batch.labels).sum(), reals, create_graph=True)
    penalty = 2 * inner.square().sum() / 64
    names, parameters = zip(*game.D.named_parameters())
    found = torch.autograd.grad(penalty, parameters, allow_unused=True)
    return {n: torch.zeros_like(p) if g is None else g for n, p, g in zip(names, parameters, found)}


def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    """Compares, per tensor, the relative norm of the difference."""
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        error = (found[name].double() - tensor.double()).norm()
        assert error <= tolerance * tensor.double().norm(), f"{name}: {error / tensor.norm():.1e}"


@pytest.mark.parametrize("phase", ["D", "G"])
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.float64, 1e-12)], ids=["fp32", "fp64"])
def test_four_micro_batches_of_16_equal_one_of_64(phase: str, dtype: torch.dtype, tolerance: float) -> None:
    whole, buffers, figures = gradients(ALONE, phase, 64, 16, dtype)
    split, split_buffers, split_figures = gradients(ALONE, phase, 16, 16, dtype)
    assert_close(split, whole, tolerance)
    assert_close(split_buffers, buffers, tolerance)
    assert_close(split_figures, figures, tolerance)
    assert all(g.norm() > 0 for n, g in whole.items())


@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize("phase", ["D", "G"])
def test_ranks_with_the_tree_give_the_bits_of_one_process(world: int, phase: str) -> None:
    alone = gradients(ALONE, phase, 16, 16, torch.float32, True)
    for together in spawn(world, gradients, phase, 16, 16, torch.float32, True):
        for part, expected in zip(together, alone):
            assert part.keys() == expected.keys()
            assert all(torch.equal(part[name], expected[name]) for name in expected)


def test_ranks_with_the_fast_reduction_give_the_joined_batch() -> None:
    whole, buffers, _ = gradients(ALONE, "D", 64, 16, torch.float64)
    for found, its_buffers, _ in spawn(2, gradients, "D", 16, 16, torch.float64):
        assert_close(found, whole, 1e-12)
        assert_close(its_buffers, buffers, 1e-12)


@pytest.mark.parametrize("tree", [False, True], ids=["fast", "tree"])
def test_penalty_alone_is_synchronised(tree: bool) -> None:
    """Plain DDP leaves each rank with its own gradients here, silently."""
    first, second = (found for found, *_ in spawn(2, gradients, "D.r1", 16, 16, torch.float64, tree, 2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert_close(first, r1_by_hand(16), 1e-12)
    assert first["features.0.weight"].norm() > 0


@pytest.mark.parametrize("world, norm_group", [(2, 64), (4, 32), (2, "batch"), (4, "batch")])
@pytest.mark.parametrize("phase", ["D", "D.r1"])
def test_norm_group_over_ranks_is_that_of_the_joined_batch(world: int, norm_group: int | str, phase: str) -> None:
    """First derivatives (phase D) and second ones (R1 alone)."""
    share = 64 // world
    expected, buffers, _ = gradients(ALONE, phase, 64, norm_group, torch.float64, False, 2)
    for found, its_buffers, _ in spawn(world, gradients, phase, share, norm_group, torch.float64, False, 2):
        assert_close(found, expected, 1e-12)
        assert_close(its_buffers, buffers, 1e-12)
    if phase == "D.r1":
        assert_close(expected, r1_by_hand(norm_group), 1e-12)


def test_statistics_of_other_groups_are_other_gradients() -> None:
    """The tests above could not pass with groups ignored."""
    small, *_ = gradients(ALONE, "D", 64, 16, torch.float64)
    large, *_ = gradients(ALONE, "D", 64, 64, torch.float64)
    assert (small["head.weight"] - large["head.weight"]).norm() > 1e-3 * large["head.weight"].norm()


def test_frozen_players_get_no_gradient() -> None:
    game = make_game(16, torch.float32)
    before = copy.deepcopy(game.state_dict())
    witnesses = {name: torch.optim.SGD(player.parameters(), 0.1) for name, player in game.players.items()}
    DDPEngine(game, witnesses, ALONE, 16).update(game.phases[1], make_batch(torch.float32))
    assert all(p.grad is None and p.requires_grad for p in game.parameters())
    moved = {name for name, tensor in game.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == {name for name in before if name.startswith("G.")}
