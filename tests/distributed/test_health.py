"""How a run handles updates that are not finite: it skips and counts them, rolls back, or gives up; alike on all ranks,
and whether or not it was killed in between."""

import functools
import json
import math
import os
import signal
from pathlib import Path

import pytest
import torch
from harness import digest, ends, launch, reports

from scalegan.checkpoints import store
from scalegan.config import Optimizer
from scalegan.engines import optimizers
from scalegan.games.base import Game, Phase
from scalegan.games.gan.game import GAN
from scalegan.models.layers.spectral import Linear
from scalegan.training.health_figures import diversity
from scalegan.training.rollback import Rollbacks, finite

SHORT = ("total_images=1920", "checkpoint.every_images=320", "log.every_images=200", "snapshot.every_images=0")


def poison(first: int, last: int, attempts: int = 1) -> None:
    """Makes G's loss NaN from `first` to `last` images, in the first `attempts` attempts."""
    loss = GAN.generator_loss

    def poisoned(self: GAN, batch: object) -> dict[str, torch.Tensor]:
        bad = first <= batch.images <= last and batch.draws.attempt < attempts
        return {name: term * math.nan if bad else term for name, term in loss(self, batch).items()}
    GAN.generator_loss = poisoned


def poison_and_die(where: str, *arguments: int) -> None:
    """Poisons G's loss, and kills the process right after the first call of the method `where` of Rollbacks."""
    poison(*arguments)
    method = getattr(Rollbacks, where)

    def deadly(self: Rollbacks, *arguments: object) -> object:
        method(self, *arguments)
        os.kill(os.getpid(), signal.SIGKILL)
    setattr(Rollbacks, where, deadly)


def facts(run: Path) -> dict:
    return store.metadata_of(store.complete(run / "checkpoints")[-1])


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
def test_a_skipped_update_is_counted_by_phase_and_training_goes_on(ranks: int, tiny_recipe: Path,
                                                                   tmp_path: Path) -> None:
    assert ends(ranks, f"recipe={tiny_recipe}", f"run_dir={tmp_path}", *SHORT,
                before=functools.partial(poison, 640, 640)) == [(0, "")] * ranks
    assert facts(tmp_path)["health"]["G"] == {"skipped": 1, "overflows": 0, "in_a_row": 0}
    assert facts(tmp_path)["health"]["D"]["skipped"] == 0
    rows = reports(tmp_path)
    assert [row["skipped/G"] for row in rows] == [int(row["images"] > 640) for row in rows]
    assert all(math.isfinite(value) for row in rows for value in row.values())
    assert finite(store.read(store.complete(tmp_path / "checkpoints")[-1]).values())
    assert not (tmp_path / "rollbacks.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("ranks, engine", [(1, []), (2, []), (2, ["engine.name=deepspeed", "engine.zero_stage=2",
                                                                  "engine.reduction=fast"])],
                         ids=["alone", "two ranks", "two ranks, ZeRO-2"])
def test_rolled_back_and_killed_equals_rolled_back(ranks: int, engine: list[str], tiny_recipe: Path,
                                                   tmp_path: Path) -> None:
    """The fault does not recur after the restart, so the attempt must have been recorded before it."""
    run, straight = tmp_path / "run", tmp_path / "straight"
    policy = ("health.rollback_after=3", "health.lr_factor=0.5", *engine)
    sick = (1000, 5000)
    assert ends(ranks, f"recipe={tiny_recipe}", f"run_dir={straight}", *SHORT, *policy,
                before=functools.partial(poison, *sick)) == [(0, "")] * ranks
    assert facts(straight)["attempt"] == 1
    assert json.loads((straight / "rollbacks.json").read_text()) == [{"from": 1216, "to": 960, "attempt": 1}]

    assert ends(ranks, f"recipe={tiny_recipe}", f"run_dir={run}", *SHORT, *policy,
                before=functools.partial(poison_and_die, "go_back", *sick))[0] == (-1, "")
    assert facts(run)["attempt"] == 0 and facts(run)["images"] == 960
    launch(ranks, f"recipe={tiny_recipe}", f"run_dir={run}", *SHORT, *policy, "total_images=1600")
    launch(ranks, f"recipe={tiny_recipe}", f"run_dir={run}", *SHORT, *policy)
    assert digest(run) == digest(straight)
    images = [row["images"] for row in reports(straight)]
    assert images == sorted(set(images))

    launch(ranks, f"recipe={tiny_recipe}", f"run_dir={tmp_path / 'healthy'}", *SHORT, *engine)
    assert digest(tmp_path / "healthy") != digest(run)
    assert reports(tmp_path / "healthy")[:4] == reports(run)[:4]  # up to the rollback


@pytest.mark.slow
def test_gives_up_after_so_many_rollbacks_with_code_3(tiny_recipe: Path, tmp_path: Path) -> None:
    sick = functools.partial(poison, 1000, 5000, 9)
    arguments = (f"recipe={tiny_recipe}", f"run_dir={tmp_path}", *SHORT, "health.rollback_after=2",
                 "health.max_rollbacks=2")
    for _ in range(2):  # the same command again ends the same way
        (code, says), other = ends(2, *arguments, before=sick)
        assert (code, says) == other and code == 3
        assert "diverged at 1,152 images" in says and "after 2 rollbacks" in says and "health.lr_factor" in says
        assert [row["attempt"] for row in json.loads((tmp_path / "rollbacks.json").read_text())] == [1, 2]
    assert facts(tmp_path)["images"] == 960
    sick = functools.partial(poison, 1000, 5000, 3)
    assert ends(2, *arguments, "health.max_rollbacks=9", before=sick) == [(0, "")] * 2


def test_without_a_checkpoint_there_is_nothing_to_go_back_to(tiny_recipe: Path, tmp_path: Path) -> None:
    (code, says), = ends(1, f"recipe={tiny_recipe}", f"run_dir={tmp_path}", "health.rollback_after=2",
                         before=functools.partial(poison, 64, 5000))
    assert code == 3 and "set checkpoint.every_images" in says and "\n" not in says


@pytest.mark.slow
def test_rollback_skips_checkpoints_of_a_run_in_trouble(tiny_recipe: Path, tmp_path: Path) -> None:
    """Checkpoints saved while updates were being skipped, or because the run was stopped, would change where a run
    rolls back to. The good one is kept beyond checkpoint.keep."""
    arguments = (f"recipe={tiny_recipe}", f"run_dir={tmp_path}", *SHORT, "health.rollback_after=20",
                 "checkpoint.every_images=640")
    sick = functools.partial(poison, 700, 5000)
    for images in (800, 900, 1000, 1344):
        assert ends(1, *arguments, f"total_images={images}", before=sick) == [(0, "")]
    whole = store.complete(tmp_path / "checkpoints")
    assert [(int(path.name), store.metadata_of(path)["good"]) for path in whole] == [
        (640, True), (1280, False), (1344, False)]
    assert ends(1, *arguments, "health.rollback_after=12", before=sick) == [(0, "")]
    assert json.loads((tmp_path / "rollbacks.json").read_text()) == [{"from": 1472, "to": 640, "attempt": 1}]


def test_lr_factor_multiplies_every_learning_rate() -> None:
    game = Game()
    game.players = {"G": torch.nn.Linear(2, 2), "D": torch.nn.Linear(2, 2)}
    game.phases = [Phase("D", ("D",), None), Phase("G", ("G",), None)]
    settings = {"G": Optimizer(lr=1e-3), "D": Optimizer(lr=4e-3)}
    made = optimizers.make(settings, game)
    optimizers.schedule(made, settings, game, 0, 0.25)
    assert [made[p].param_groups[0]["lr"] for p in "GD"] == [2.5e-4, 1e-3]


def test_reports_hold_the_health_figures(finished_run: Path) -> None:
    for row in reports(finished_run):
        assert row["logit_gap/D"] == row["loss/D/real_logit"] - row["loss/D/fake_logit"]
        assert row["grad_norm/G"] > 0 and row["grad_norm/D"] > 0 and row["skipped/D"] == 0
    assert any(row.get("diversity", 0) > 0 for row in reports(finished_run))


def test_sigma_is_the_largest_singular_value() -> None:
    layer = Linear(5, 7)
    layer.initialise("layer", lambda name: torch.Generator().manual_seed(1), "normal")
    for _ in range(200):
        layer.normed.advance()
    expected = torch.linalg.svdvals(layer.normed.weight.detach())[0]
    assert layer.normed.sigma() == pytest.approx(float(expected), rel=1e-5)


def test_diversity_is_the_mean_distance_between_samples() -> None:
    assert diversity(torch.ones(5, 3, 2, 2)) == 0
    assert diversity(torch.tensor([-1.0, 1.0]).reshape(2, 1, 1, 1).expand(2, 3, 2, 2)) == pytest.approx(2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_finite_sees_a_single_value(dtype: torch.dtype, value: float) -> None:
    tensors = [torch.full((4, 4), torch.finfo(dtype).max, dtype=dtype), torch.arange(3), torch.zeros(0)]
    assert finite(tensors) and finite([])
    tensors[0][2, 3] = value
    assert not finite(tensors)
