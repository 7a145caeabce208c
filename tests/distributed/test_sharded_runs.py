"""Whole runs under FSDP and ZeRO-3: one checkpoint for every engine and world size, resumption, further features."""

import importlib.util
import os
from pathlib import Path

import pytest
from harness import check_a_kill_changes_no_bit, digest, launch, make_set, reports, samples, spawn, train
from test_deepspeed_runs import DDP, ZERO, save_again

from scalegan.checkpoints import store

pytestmark = pytest.mark.slow

FSDP = ("engine.name=fsdp",)
WITH_ZERO_3 = importlib.util.find_spec("deepspeed") is not None
RECIPE = """# A small R3GAN with approximated penalties, which every engine trains
extends: [_base/r3gan]
data: {{path: "{data}", resolution: 32, labels: class, workers: 0, block_records: 8, window_blocks: 4}}
model: {{width: 16, cardinality: 4, blocks: 1, latent_dim: 8}}
game: {{penalties: {{r1: {{gamma: 1, method: finite_difference, sigma: 0.1}},
                   r2: {{gamma: 1, method: finite_difference, sigma: 0.1}}}}}}
batch_size: 16
micro_batch_size: 4
lanes: 4
precision: fp32
total_images: 384
ema: {{half_life_images: 200}}
log: {{every_images: 96, tensorboard: false}}
checkpoint: {{every_images: 96}}
snapshot: {{every_images: 192, rows: 2, columns: 4}}
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sharded")
    path = folder / "small.yaml"
    path.write_text(RECIPE.format(data=make_set(folder / "set", (64, 64), size=32)))
    return path


@pytest.fixture(scope="module")
def straight(recipe: Path) -> Path:
    """The run on two ranks under FSDP."""
    folder = recipe.parent / "straight"
    launch(2, f"recipe={recipe}", f"run_dir={folder}", *FSDP)
    return folder


def test_a_chain_of_moves_changes_no_bit(recipe: Path, tmp_path: Path) -> None:
    common = [f"recipe={recipe}", f"run_dir={tmp_path / 'run'}"]
    launch(2, *common, "total_images=96")
    expected, saved = digest(tmp_path / "run"), []
    deepspeed = [(2, ZERO[1]), (1, FSDP), (2, ZERO[3])] if WITH_ZERO_3 else [(1, FSDP)]
    for world, engine in ((4, FSDP), *deepspeed, (2, FSDP), (1, DDP)):
        for found, images, facts, sizes in spawn(world, save_again, *common, *engine):
            assert (found, images) == (expected, 96), f"{engine} on {world}"
            assert len(sizes) == world and max(sizes) <= 1.2 * sum(sizes) / world
            saved.append(facts)
    assert all(facts == saved[0] for facts in saved)


def test_training_on_after_each_move_is_the_straight_run_within_rounding(recipe: Path, straight: Path,
                                                                         tmp_path: Path) -> None:
    moves = [(2, DDP), (4, FSDP), (2, ZERO[3] if WITH_ZERO_3 else DDP), (2, FSDP)]
    for number, (world, engine) in enumerate(moves, start=1):
        launch(world, f"recipe={recipe}", f"run_dir={tmp_path / 'moved'}", *engine, f"total_images={96 * number}")
    found, expected = reports(tmp_path / "moved"), reports(straight)
    assert [row["images"] for row in found] == [row["images"] for row in expected] == [96, 192, 288, 384]
    for row, expected_row in zip(found, expected, strict=True):
        row.pop("diversity", None), expected_row.pop("diversity", None)    # of the picture at the end of each move
        assert row == pytest.approx(expected_row, rel=0.02, abs=0.002)


def test_killed_and_resumed_at_the_same_size_it_is_the_straight_run(recipe: Path, straight: Path,
                                                                    tmp_path: Path) -> None:
    check_a_kill_changes_no_bit(straight, [f"recipe={recipe}", *FSDP], tmp_path / "killed", (2, 2))


@pytest.mark.skipif(not WITH_ZERO_3, reason="deepspeed is not installed")
def test_zero_3_resumes_as_if_it_had_not_stopped(recipe: Path, tmp_path: Path) -> None:
    for total in (192, 288):
        launch(2, f"recipe={recipe}", f"run_dir={tmp_path / 'moved'}", *ZERO[3], f"total_images={total}")
    launch(2, f"recipe={recipe}", f"run_dir={tmp_path / 'straight'}", *ZERO[3], "total_images=288")
    assert digest(tmp_path / "moved") == digest(tmp_path / "straight")
    assert samples(tmp_path / "moved")[f"{192:012d}.png"] == samples(tmp_path / "straight")[f"{192:012d}.png"]


@pytest.mark.parametrize("engine", [FSDP, *([ZERO[3]] if WITH_ZERO_3 else [])], ids=lambda e: e[-1])
def test_pictures_are_those_of_ddp(engine: tuple[str, ...], recipe: Path, tmp_path: Path) -> None:
    """From whole averages, gathered on all ranks: equal pixels where equal weights are loaded."""
    common = [f"recipe={recipe}", "total_images=96"]
    launch(2, *common, f"run_dir={tmp_path / 'a'}")
    path = store.complete(tmp_path / "a" / "checkpoints")[-1]
    launch(2, f"recipe={recipe}", f"run_dir={tmp_path / 'b'}", *engine, f"init_from={path}", "total_images=16")
    launch(2, f"recipe={recipe}", f"run_dir={tmp_path / 'c'}", f"init_from={path}", "total_images=16")
    assert samples(tmp_path / "b")[f"{0:012d}.png"] == samples(tmp_path / "c")[f"{0:012d}.png"]
    assert reports(tmp_path / "b")[-1] == pytest.approx(reports(tmp_path / "c")[-1], rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("key", ["precision=bf16", "precision=fp16", "freeze=[D.stages.0]",
                                 "engine.activation_checkpointing=true"])
def test_further_features_start_as_under_ddp(key: str, recipe: Path, tmp_path: Path) -> None:
    common = [f"recipe={recipe}", "total_images=32", "log.every_images=16", "snapshot.every_images=0", key]
    for name, engine in (("found", FSDP), ("expected", DDP)):
        launch(2, *common, f"run_dir={tmp_path / name}", *engine)
    half = key.startswith("precision")
    assert reports(tmp_path / "found")[-1] == pytest.approx(
        reports(tmp_path / "expected")[-1], rel=0.05 if half else 1e-3, abs=0.01 if half else 1e-4)
    state = store.read(store.complete(tmp_path / "found" / "checkpoints")[-1])
    assert ("optimizer/D/stages.0.0.mix.weight/exp_avg" in state) == (not key.startswith("freeze"))
    assert "game/D.stages.0.0.mix.weight" in state


def test_under_a_launcher(recipe: Path, tmp_path: Path) -> None:
    common = [f"recipe={recipe}", "total_images=32", "snapshot.every_images=0"]
    train(*common, f"run_dir={tmp_path / 'launched'}", ranks=2, ACCELERATE_USE_FSDP="true")
    launch(2, *common, f"run_dir={tmp_path / 'named'}", *FSDP)
    assert digest(tmp_path / "launched") == digest(tmp_path / "named")
    assert "name: fsdp" in (tmp_path / "launched" / "config.yaml").read_text()
    refused = train(*common, f"run_dir={tmp_path / 'tree'}", "engine.reduction=tree", code=2,
                    ACCELERATE_USE_FSDP="true")
    assert "engine.reduction=tree works with engine.name=ddp only" in refused.stderr + refused.stdout
    assert not os.path.exists(tmp_path / "tree")
