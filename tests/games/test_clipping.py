"""Weights are clipped under every engine, ZeRO's master weights too, and only by the critic's updates."""

import importlib.util
from pathlib import Path

import pytest
import torch
from harness import launch
from test_objectives import POINTS

from scalegan.checkpoints import store

DEEPSPEED = pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="deepspeed is not installed")


def weights(run: Path, player: str) -> torch.Tensor:
    newest = store.complete(run / "checkpoints")[-1]
    return torch.cat([t.flatten() for t in store.read(newest, prefix=f"game/{player}.").values()])


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["ddp", "fsdp", pytest.param("deepspeed", marks=DEEPSPEED)])
@pytest.mark.parametrize("optimizer", ["rmsprop", "adam"])
def test_weights_of_the_critic_stay_within_the_bound(engine: str, optimizer: str, tmp_path: Path) -> None:
    recipe, run = tmp_path / "recipe.yaml", tmp_path / "run"
    recipe.write_text(POINTS.replace("engine: {reduction: tree}", ""))
    players = [f"optimizer.{player}.{key}" for player in "GD" for key in (f"name={optimizer}", "lr=1e-2")]
    launch(2, f"recipe={recipe}", f"run_dir={run}", f"engine.name={engine}", "game.loss=wasserstein_clip", *players)
    critic = weights(run, "D")
    bound = torch.tensor(0.01)
    assert critic.abs().max() == bound
    assert (critic.abs() == bound).float().mean() > 0.05  # steps of 0.01 drive many to the bound
    assert weights(run, "G").abs().max() > 0.5
