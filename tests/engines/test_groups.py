"""Process groups wait for ranks that are late, and are taken down only by ranks that have all come to the end."""

import contextlib
import os
import socket
import subprocess
import sys

import pytest
import torch
import torch.distributed as dist
from harness import ROOT, environment, spawn

from scalegan.config import loading
from scalegan.engines.base import Engine
from scalegan.engines.deepspeed import DeepSpeedEngine, _as_rank_on
from scalegan.engines.fsdp import FSDPEngine
from scalegan.engines.ranks import PATIENCE, Ranks
from scalegan.engines.spanning import span_norm_groups
from scalegan.errors import RecipeError, UserError
from scalegan.games.gan.game import GAN
from scalegan.losses import LOSSES
from scalegan.models import dcgan
from scalegan.training import launch as launching


def game_with_groups_over_ranks() -> GAN:
    return GAN(dcgan.Generator(16, latent_dim=4, width=2, norm_group=8), dcgan.Discriminator(16, width=2, norm_group=8),
               LOSSES["non_saturating"])


def timeouts(ranks: Ranks, engine: type[Engine] | None) -> list[float]:
    """Of all groups, in seconds."""
    game = game_with_groups_over_ranks()
    span_norm_groups(game, ranks, micro_batch=4)
    if engine:
        engine(game, {name: torch.optim.Adam(player.parameters()) for name, player in game.players.items()}, ranks, 4)
    groups = dist.distributed_c10d._world.pg_map
    return [group._get_backend(torch.device("cpu")).options._timeout.total_seconds() for group in groups]


@pytest.mark.parametrize("engine, least", [(None, 4), (DeepSpeedEngine, 5), (FSDPEngine, 4)])
def test_no_group_gives_up_on_a_rank_that_is_late(engine: type[Engine] | None, least: int) -> None:
    """The default group, `control`, `saver`, those of norm groups, and an engine's own."""
    if engine is DeepSpeedEngine:
        pytest.importorskip("deepspeed")
    for found in spawn(2, timeouts, engine):
        assert len(found) >= least and set(found) == {PATIENCE.total_seconds()}


@pytest.mark.parametrize("launcher, device, seen", [
    ("5", torch.device("cuda", 0), "0"), (None, torch.device("cuda"), "0"), ("1", torch.device("cuda", 1), "1"),
    ("5", torch.device("cpu"), "5"), (None, torch.device("cpu"), "0")])
def test_deepspeed_is_told_the_index_of_the_ranks_device(launcher: str | None, device: torch.device, seen: str,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    """Rank 5 of a node may see its GPU alone, as number 0."""
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if launcher:
        monkeypatch.setenv("LOCAL_RANK", launcher)
    with _as_rank_on(device):
        assert os.environ["LOCAL_RANK"] == seen
    assert os.environ.get("LOCAL_RANK") == launcher


@pytest.mark.parametrize("error, destroyed", [(None, True), (UserError("one rank's own"), False),
                                              (RecipeError("every rank's"), False), (ValueError("a bug"), False)],
                         ids=["an orderly end", "one rank's error", "every rank's error", "a bug"])
def test_only_an_orderly_end_destroys_the_group(error: Exception | None, destroyed: bool,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    """The peers of a rank that failed are gone or going: it must not wait for them, nor they for it."""
    left = []

    def trained(*arguments: object) -> int:
        if error:
            raise error
        return 0

    for name, stand_in in {
            "is_training_rank": lambda lanes: True, "join": lambda threads: Ranks(1, 2, torch.device("cpu")),
            "StopRequest": lambda ranks: None, "stop_with_launcher": lambda: None, "_trained": trained,
            "Watch": lambda ranks: contextlib.nullcontext(), "leave": lambda: left.append(True)}.items():
        monkeypatch.setattr(launching, name, stand_in)
    with pytest.raises(type(error)) if error else contextlib.nullcontext():
        launching.launch(loading.load(["recipe=quickstart", "run_dir=none"]))
    assert bool(left) == destroyed


SCRIPT = """
import sys
from scalegan.engines.ranks import ending, join
ranks = join()
def work():
    ranks.barrier()
    if ranks.rank == 1:
        raise KeyboardInterrupt if sys.argv[1] == "interrupt" else ValueError("broken here")
    return 75
ending(work)
"""


@pytest.mark.slow
@pytest.mark.parametrize("how, code", [("error", 1), ("interrupt", 130)])
def test_a_failing_rank_says_so_and_leaves_with_its_code(how: str, code: int) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    group = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks = [subprocess.Popen([sys.executable, "-c", SCRIPT, how], cwd=ROOT, stderr=subprocess.PIPE, text=True,
                              env=environment(RANK=str(rank), LOCAL_RANK=str(rank), **group)) for rank in range(2)]
    said = [rank.communicate(timeout=120)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [75, code], said
    assert ("broken here" if how == "error" else "KeyboardInterrupt") in said[1]
