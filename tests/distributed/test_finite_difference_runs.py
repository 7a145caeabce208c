"""Finite differences, AdamW, clipped gradients, power EMA: the same bits on any ranks and after a kill; and ZeRO."""

import importlib.util
from pathlib import Path

import pytest
from harness import digest, launch, make_set, reports, start, wait_until
from test_families import write_recipe

pytestmark = pytest.mark.slow

KEYS = tuple(f"game.penalties.{r}={{gamma: 1, method: finite_difference, share: 0.5}}" for r in ("r1", "r2")) + tuple(
    f"optimizer.{player}={{name: adamw, lr: 1e-3, betas: [0, 0.9], weight_decay: 0.1, clip_norm: 0.1}}"
    for player in "GD") + ("power_ema={every_images: 80}", "augment.p=0.5")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recipe")
    return write_recipe(folder, "r3gan", "class", make_set(folder / "set", size=32), total=144)


@pytest.fixture(scope="module")
def straight(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "straight"
    launch(1, f"recipe={recipe}", f"run_dir={run}", "precision=bf16", *KEYS)
    return run


def test_two_ranks_and_a_kill_change_no_bit(recipe: Path, straight: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    common = (f"recipe={recipe}", f"run_dir={run}", "precision=bf16", *KEYS)
    process = start(*common)
    wait_until(lambda: list(run.glob("checkpoints/*/COMPLETE")), "there is a checkpoint")
    process.kill()
    process.wait()
    launch(2, *common)
    assert digest(run) == digest(straight)
    assert reports(run)[-1] == reports(straight)[-1]
    rows = reports(straight)
    assert all(row["loss/D/r1"] > 0 for row in rows)
    norms = [row["grad_norm/D"] for row in rows]
    assert max(norms) > 0.1, "some gradients were clipped"


@pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="deepspeed is not installed")
@pytest.mark.parametrize("stage", [0, 2])
def test_deepspeed_starts_alike(stage: int, recipe: Path, tmp_path: Path) -> None:
    common = (f"recipe={recipe}", "precision=fp32", "engine.reduction=fast", "total_images=48", "log.every_images=16",
              "power_ema=null", *(key for key in KEYS if not key.startswith("power_ema")))
    launch(1, *common, f"run_dir={tmp_path / 'ddp'}")
    launch(2, *common, f"run_dir={tmp_path / 'zero'}", "engine.name=deepspeed", f"engine.zero_stage={stage}")
    for row, expected in zip(reports(tmp_path / "zero"), reports(tmp_path / "ddp"), strict=True):
        assert row == pytest.approx(expected, rel=2e-3, abs=1e-4)
