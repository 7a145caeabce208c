"""Schedules: their values, and everything that they control."""

from pathlib import Path

import pytest
import torch
from harness import launch, reports
from torch import nn

from scalegan import config
from scalegan.averages.ema import Ema
from scalegan.config import Schedule, loading
from scalegan.engines import optimizers
from scalegan.errors import RecipeError
from scalegan.games.base import Game, Phase
from scalegan.schedules import at
from scalegan.training import build
from scalegan.training.costs import specs_of

COSINE = Schedule(start=2.0, end=1.0, images=1000)
LINEAR = Schedule(kind="linear", start=0.0, end=4.0, images=1000)
EXPONENTIAL = Schedule(kind="exponential", start=8.0, end=0.5, images=1000)
STEP = Schedule(kind="step", start=3.0, steps={500: 2.0, 1500: 0.5})


@pytest.mark.parametrize("value, expected", [
    (0.7, [0.7, 0.7, 0.7, 0.7, 0.7]),
    (COSINE, [2.0, 1.853553, 1.5, 1.0, 1.0]),
    (LINEAR, [0.0, 1.0, 2.0, 4.0, 4.0]),
    (EXPONENTIAL, [8.0, 4.0, 2.0, 0.5, 0.5]),
    (STEP, [3.0, 3.0, 2.0, 2.0, 0.5]),
], ids=["constant", "cosine", "linear", "exponential", "step"])
def test_values(value: float | Schedule, expected: list[float]) -> None:
    assert [at(value, images) for images in (0, 250, 500, 1000, 2000)] == pytest.approx(expected)


def test_it_stays_at_its_start_before_after() -> None:
    flat_then_down = Schedule(kind="linear", start=2.0, end=0.0, images=1000, after=500)
    assert [at(flat_then_down, images) for images in (0, 500, 750, 1000, 1500, 9000)] == [2.0, 2.0, 1.5, 1.0, 0.0, 0.0]


def test_a_step_begins_with_its_image() -> None:
    assert [at(STEP, images) for images in (499, 500, 1499, 1500)] == [3.0, 2.0, 2.0, 0.5]


def test_learning_rate_and_betas_follow_their_schedules() -> None:
    game = Game()
    game.G = nn.Linear(2, 2)
    game.players, game.phases = {"G": game.G}, [Phase("G", ("G",), lambda batch: {})]
    settings = {"G": config.Optimizer(lr=STEP, betas=(Schedule(kind="step", start=0.5, steps={500: 0.0}),
                                                      Schedule(kind="linear", start=0.9, end=0.99, images=1000)))}
    made = optimizers.make(settings, game)
    for images, lr, betas in ((0, 3.0, (0.5, 0.9)), (500, 2.0, (0.0, 0.945)), (2000, 0.5, (0.0, 0.99))):
        optimizers.schedule(made, settings, game, images)
        group = made["G"].param_groups[0]
        assert group["lr"] == pytest.approx(lr) and tuple(group["betas"]) == pytest.approx(betas)


def test_stylegan2_cifar_keeps_the_correction_for_a_path_length_it_leaves_out() -> None:
    """training_loop.py of stylegan2-ada-pytorch divides by G_reg_interval + 1 = 5 whether or not there is a penalty."""
    recipe = loading.load(["recipe=stylegan2_cifar10"])
    with torch.device("meta"):
        game = build.game(recipe, specs_of(recipe))
    made = {name: torch.optim.Adam([nn.Parameter(torch.zeros(1))]) for name in "GD"}
    optimizers.schedule(made, recipe.optimizer, game, 0)
    found = {name: (made[name].param_groups[0]["lr"], made[name].param_groups[0]["betas"]) for name in "GD"}
    assert found["G"] == (pytest.approx(2.5e-3 * 4 / 5), (0, pytest.approx(0.99 ** (4 / 5), abs=1e-6)))
    assert found["D"] == (pytest.approx(2.5e-3 * 16 / 17), (0, pytest.approx(0.99 ** (16 / 17))))


def test_half_life_follows_its_schedule() -> None:
    ema = Ema(nn.Linear(2, 2), Schedule(kind="step", start=0, steps={100: 50}))
    assert ema.decay(50, 149) == 0.0 and ema.decay(50, 150) == pytest.approx(0.5)


@pytest.mark.slow
def test_r1_follows_its_schedule_which_does_not_depend_on_where_the_run_ends(tiny_recipe: Path, tmp_path: Path) -> None:
    """gamma is 0 up to 128 images; a run that ends later has the same reports."""
    common = [f"recipe={tiny_recipe}", "game.penalties.r1={gamma: {kind: step, start: 0, steps: {128: 1}}, every: 1}",
              "optimizer.D.lr={kind: cosine, start: 1e-3, end: 0, images: 400}", "log.every_images=64"]
    for total in (256, 384):
        launch(1, *common, f"run_dir={tmp_path / str(total)}", f"total_images={total}")
    short, long = reports(tmp_path / "256"), reports(tmp_path / "384")
    assert [row["loss/D/r1"] > 0 for row in long] == [False, False, True, True, True, True]
    assert [row["loss/D/real"] for row in short] == [row["loss/D/real"] for row in long[:4]]


@pytest.mark.parametrize("wrong, says", [
    ("optimizer.G.lr={kind: step, start: 1e-3}", "kind=step has start and steps"),
    ("optimizer.G.lr={start: 1e-3}", "start, end and images"),
    ("optimizer.G.lr={kind: linear, start: 1, end: 2, images: 5, steps: {3: 1}}", "start, end and images"),
    ("optimizer.G.lr={kind: stairs, start: 1e-3}", "should be 'cosine', 'linear', 'exponential' or 'step'"),
    ("optimizer.G.lr={start: 1e-3, end: 0, image: 100}", "optimizer.G.lr.image"),
    ("optimizer.G.betas=[{kind: step, start: 0.5, steps: {10: 1.0}}, 0.9]", "1.0 is not below 1"),
])
def test_invalid_schedules_are_refused(wrong: str, says: str) -> None:
    with pytest.raises(RecipeError, match=says) as caught:
        loading.load(["recipe=quickstart", wrong])
    assert "\n" not in str(caught.value)


def test_schedules_survive_a_recipes_round_trip() -> None:
    loaded = loading.load(["recipe=quickstart", "optimizer.G.lr={kind: step, start: 1e-3, steps: {1_000_000: 1e-4}}"])
    assert loaded.optimizer["G"].lr.steps == {1_000_000: 1e-4}
    assert loading.parse(loading.to_dict(loaded), "again") == loaded
    assert at(loaded.optimizer["G"].lr, 2_000_000) == 1e-4
