"""Compiled passes: the same updates, names and bits on resume."""

import copy
from pathlib import Path

import pytest
import torch
from harness import digest, launch, reports, train
from small_games import SAMPLES, Witness, batch_of, game_of, networks
from torch._dynamo.utils import counters

from scalegan.engines.ddp import DDPEngine
from scalegan.engines.ranks import Ranks
from scalegan.errors import RecipeError
from scalegan.games.compiled import Compiled, check_compiler
from scalegan.games.gan.game import GAN
from scalegan.games.penalties.finite_difference import FiniteDifferences, Probe
from scalegan.losses import LOSSES

FAMILIES = ("dcgan", "text_dcgan", "biggan", "biggan_deep", "stylegan2", "r3gan", "gat")


def with_compiled_players(game: GAN) -> GAN:
    game.compiled = {name: Compiled(player) for name, player in game.players.items()}
    return game


def gradients(game: GAN, family: str) -> dict[str, list[torch.Tensor]]:
    """Gradients of one update of every phase, in half-batch micro-batches, and the tracked modules' next state."""
    found = {}
    for phase in game.phases:
        witnesses = {name: Witness(player) for name, player in game.players.items()}
        micro_batch = SAMPLES if family == "dcgan" else SAMPLES // 2      # DCGAN's norms here are over the batch
        engine = DDPEngine(game, witnesses, Ranks(0, 1, torch.device("cpu")), micro_batch)
        engine.update(phase, batch_of(family, phase.name))
        found[phase.name] = witnesses[phase.players[0]].found
    return found


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_compiled_updates_are_the_eager_ones(family: str, quickly_compiled: None) -> None:
    nets = networks(family)
    eager, other = game_of(family, *copy.deepcopy(nets)), with_compiled_players(game_of(family, *nets))
    assert list(eager.state_dict()) == list(other.state_dict())
    counters.clear()
    expected, found = gradients(eager, family), gradients(other, family)
    for phase, tensors in expected.items():
        whole = torch.cat([t.flatten() for t in tensors]).norm()
        for one, two in zip(tensors, found[phase], strict=True):
            assert (one - two).norm() <= 1e-4 * one.norm() + 1e-6 * whole, phase
    for (name, one), two in zip(eager.state_dict().items(), other.state_dict().values()):
        assert torch.allclose(one, two, rtol=1e-4, atol=1e-6), name       # running statistics, u, w_avg, path length
    graphs = counters["stats"]["unique_graphs"]
    assert graphs >= 4 and not counters["graph_break"]
    gradients(other, family)
    assert counters["stats"]["unique_graphs"] == graphs                   # nothing is compiled twice


@pytest.mark.slow
def test_finite_differences_run_compiled(quickly_compiled: None) -> None:
    """One phase of D with R1 and R2: compiled, with the eager gradients."""
    nets, probe = networks("r3gan"), Probe(1.0, 0.1, share=0.5)     # at a small sigma, rounding alone would differ more

    def made(g: torch.nn.Module, d: torch.nn.Module) -> GAN:
        return GAN(g, d, LOSSES["relativistic"], {"fd": FiniteDifferences({"real": probe, "fake": probe})})

    eager, other = made(*copy.deepcopy(nets)), with_compiled_players(made(*nets))
    counters.clear()
    expected, found = gradients(eager, "r3gan")["D"], gradients(other, "r3gan")["D"]
    assert counters["stats"]["unique_graphs"] >= 4 and not counters["graph_break"]      # both of D's calls, G's two
    one, two = (torch.cat([g.flatten() for g in found]) for found in (expected, found))
    assert (one - two).norm() <= 1e-4 * one.norm()


@pytest.mark.slow
def test_a_forward_by_hand_between_updates_keeps_what_it_observed(quickly_compiled: None) -> None:
    generator, _ = networks("dcgan")
    z = torch.ones(SAMPLES, 12)
    generator(z)
    alone = [m.drain() for m in generator.modules() if hasattr(m, "drain")]
    generator(z)
    Compiled(generator)(z)
    both = [m.drain() for m in generator.modules() if hasattr(m, "drain")]
    for one, two in zip(alone, both, strict=True):
        assert one.keys() == two.keys()
        assert all(torch.allclose(one[name], two[name], atol=1e-6) for name in one)


def test_a_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(RecipeError, match=r"needs a C\+\+ compiler, but g\+\+ was not found: install g\+\+"):
        check_compiler(torch.device("cpu"))


@pytest.mark.slow
def test_a_compiled_run_has_the_same_bits_resumed_and_on_two_ranks(tiny_recipe: Path, tmp_path: Path) -> None:
    """Lazy R1 among its phases."""
    keys = (f"recipe={tiny_recipe}", "engine.compile=true", "game.penalties.r1.every=4", "snapshot.every_images=0")
    straight, moved, shared = (tmp_path / name for name in ("straight", "moved", "shared"))
    launch(1, *keys, f"run_dir={straight}", "total_images=1280")
    launch(2, *keys, f"run_dir={shared}", "total_images=1280")
    launch(1, *keys, f"run_dir={moved}", "total_images=640")
    launch(1, *keys, f"run_dir={moved}", "total_images=1280")
    assert digest(moved) == digest(straight) == digest(shared)
    assert reports(moved)[-1] == reports(straight)[-1]
    done = train(f"recipe={tiny_recipe}", f"run_dir={moved}", "total_images=1344", "snapshot.every_images=0")
    assert "bits may differ because compile was True and is now False" in done.stdout
