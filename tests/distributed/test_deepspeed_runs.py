"""Whole runs under DeepSpeed: one checkpoint for every engine and world size, resume, launchers, families."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from harness import ROOT, TINY_RECIPE, digest, environment, launch, make_set, reports, spawn, train
from test_families import CASES, write_recipe

from scalegan.checkpoints import store
from scalegan.config import loading
from scalegan.config.ranks import check_world
from scalegan.engines.ranks import Ranks
from scalegan.training.launch import assemble

needs_deepspeed = pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="deepspeed is not installed")
DDP = ("engine.name=ddp",)
ZERO = [("engine.name=deepspeed", f"engine.zero_stage={stage}") for stage in range(4)]


@pytest.fixture(scope="module")
def fast_recipe(tiny_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small quickstart, with the reduction that both engines have."""
    path = tmp_path_factory.mktemp("recipes") / "fast.yaml"
    path.write_text(TINY_RECIPE.format(data=tiny_set).replace("tree", "fast"))
    return path


def save_again(ranks: Ranks, *arguments: str) -> tuple[str, int, dict, list[int]]:
    """Loads a run's newest checkpoint and writes it again, without an update in between.

    Returns digest, images, the saved state of engine and report, and the bytes of each rank's file."""
    parsed = loading.load(list(arguments))
    run = assemble(parsed, ranks, check_world(parsed, ranks.world_size))
    facts = run.metadata()
    run.checkpoints.save(run.progress.images, run.tensors(), facts, wait=True)
    newest = store.complete(run.folder / "checkpoints")[-1]
    kept = {name: facts[name] for name in ("health", "scalers", "means", "images", "updates")}
    return digest(run.folder), run.progress.images, kept, [path.stat().st_size for path in newest.glob("*.safetensors")]


@needs_deepspeed
@pytest.mark.slow
@pytest.mark.parametrize("optimizer, precision", [("adam", "fp32"), ("rmsprop", "fp32"), ("sgd", "fp32"),
                                                  ("adam", "fp16")])
def test_a_chain_of_moves_changes_no_bit(optimizer: str, precision: str, fast_recipe: Path, tmp_path: Path) -> None:
    common = [f"recipe={fast_recipe}", f"run_dir={tmp_path / 'run'}", f"precision={precision}",
              *(f"optimizer.{player}.name={optimizer}" for player in "GD")]
    launch(2, *common, "total_images=320")
    expected = digest(tmp_path / "run")
    saved = []
    for world, engine in ((4, ZERO[1]), (1, ZERO[2]), (2, ZERO[0]), (4, ZERO[2]), (2, DDP)):
        for found, images, facts, sizes in spawn(world, save_again, *common, *engine):
            assert (found, images) == (expected, 320), f"{engine} on {world}"
            assert len(sizes) == world and max(sizes) <= 1.2 * sum(sizes) / world
            saved.append(facts)
    assert all(facts == saved[0] for facts in saved)


@needs_deepspeed
@pytest.mark.slow
@pytest.mark.parametrize("engine", ZERO[:3], ids=["ZeRO-0", "ZeRO-1", "ZeRO-2"])
def test_resumed_at_the_same_size_it_is_the_straight_run(engine: tuple[str, ...], fast_recipe: Path,
                                                         tmp_path: Path) -> None:
    for total in (640, 1280):
        launch(2, f"recipe={fast_recipe}", f"run_dir={tmp_path / 'moved'}", *engine, f"total_images={total}")
    launch(2, f"recipe={fast_recipe}", f"run_dir={tmp_path / 'straight'}", *engine, "total_images=1280")
    assert digest(tmp_path / "moved") == digest(tmp_path / "straight")
    assert reports(tmp_path / "moved")[-1] == reports(tmp_path / "straight")[-1]


@needs_deepspeed
@pytest.mark.slow
def test_it_starts_as_ddp_does_on_any_ranks_and_engine(fast_recipe: Path, tmp_path: Path) -> None:
    """The same samples, draws and losses; only sums differ in their last digits."""
    common = (f"recipe={fast_recipe}", "log.every_images=64")
    launch(2, *common, f"run_dir={tmp_path / 'ddp'}", "total_images=256")
    for world, engine, total in ((2, ZERO[2], 128), (4, ZERO[1], 192), (1, ZERO[1], 256)):
        launch(world, *common, f"run_dir={tmp_path / 'moved'}", *engine, f"total_images={total}")
    expected, found = reports(tmp_path / "ddp"), reports(tmp_path / "moved")
    assert [row["images"] for row in found] == [64, 128, 192, 256]
    for row, expected_row in zip(found, expected, strict=True):
        assert {k: v for k, v in row.items() if k != "diversity"} == pytest.approx(
            {k: v for k, v in expected_row.items() if k != "diversity"}, rel=1e-3)
    averages = [store.read(store.complete(tmp_path / name / "checkpoints")[-1], "ema/") for name in ("moved", "ddp")]
    torch.testing.assert_close(*averages, rtol=1e-3, atol=1e-4)


@needs_deepspeed
@pytest.mark.slow
@pytest.mark.parametrize("family, labels", [("dcgan", "class"), *(case for case in CASES if case[1] == "class")])
def test_every_family_trains_under_zero_2(family: str, labels: str, tmp_path: Path, fast_recipe: Path) -> None:
    """And starts with the losses that DDP starts with."""
    path = fast_recipe
    if family != "dcgan":
        path = write_recipe(tmp_path, family, labels, make_set(tmp_path / "set", (64, 64), size=32))
        path.write_text(path.read_text().replace("tree", "fast"))
    size = 64 if family == "dcgan" else 16
    common = (f"recipe={path}", "precision=fp32", f"total_images={2 * size}", f"log.every_images={size}")
    launch(2, *common, f"run_dir={tmp_path / 'zero'}", *ZERO[2])
    launch(2, *common, f"run_dir={tmp_path / 'ddp'}")
    found, expected = reports(tmp_path / "zero"), reports(tmp_path / "ddp")
    assert found[0] == pytest.approx(expected[0], rel=1e-4)
    assert found[-1]["images"] == expected[-1]["images"] >= 2 * size


@needs_deepspeed
@pytest.mark.slow
def test_under_a_launcher_and_without_its_noise(fast_recipe: Path, tmp_path: Path) -> None:
    """`accelerate launch --use_deepspeed` selects the engine; DeepSpeed prints nothing itself."""
    asked = {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "2"}
    common = [f"recipe={fast_recipe}", "total_images=128"]
    done = train(*common, f"run_dir={tmp_path / 'launched'}", ranks=2, **asked)
    said = (done.stdout + done.stderr).lower()
    assert "deepspeed" not in said and "warning" not in said.replace("omp_num_threads", "")
    train(*common, f"run_dir={tmp_path / 'named'}", *ZERO[2], ranks=2)
    assert digest(tmp_path / "launched") == digest(tmp_path / "named")
    assert "name: deepspeed" in (tmp_path / "launched" / "config.yaml").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("settings, says", [
    (ZERO[3], "engine.zero_stage=3 does not train D"),
    ((*ZERO[1], "engine.reduction=tree", "micro_batch_size=16"), "engine.reduction=tree"),
    (("engine.zero_stage=4",), "engine.zero_stage=4"), (("engine.name=deepsped",), "did you mean 'deepspeed'")])
def test_unsupported_settings_are_refused(settings: tuple[str, ...], says: str, fast_recipe: Path) -> None:
    done = train(f"recipe={fast_recipe}", "run_dir=none", *settings, code=2)
    assert says in done.stderr and done.stderr.count("\n") == 1 and not Path("none").exists()


@pytest.mark.slow
def test_a_stage_of_a_launcher_that_there_is_not_is_refused(fast_recipe: Path) -> None:
    done = train(f"recipe={fast_recipe}", "run_dir=none", code=2, ACCELERATE_USE_DEEPSPEED="true",
                 ACCELERATE_DEEPSPEED_ZERO_STAGE="4")
    assert "--zero_stage=4" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.slow
def test_without_deepspeed_the_error_says_how_to_get_it(fast_recipe: Path, tmp_path: Path) -> None:
    door = ("import sys; sys.modules['deepspeed'] = None; from scalegan.cli import main; sys.argv[0] = 'scalegan'; "
            "sys.exit(main())")
    done = subprocess.run([sys.executable, "-c", door, "train", f"recipe={fast_recipe}", f"run_dir={tmp_path / 'run'}",
                           *ZERO[1]], cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert "pip install 'scalegan[deepspeed]'" in done.stderr


@pytest.mark.slow
def test_ranks_that_lanes_do_not_divide_are_left_out(fast_recipe: Path, tmp_path: Path) -> None:
    """4 lanes on 3 ranks are a run on 2."""
    common = [f"recipe={fast_recipe}", "total_images=128"]
    done = train(*common, f"run_dir={tmp_path / 'three'}", ranks=3)
    assert "training on 2 of 3 ranks, the most that divide lanes=4" in done.stdout
    launch(2, *common, f"run_dir={tmp_path / 'two'}")
    assert digest(tmp_path / "three") == digest(tmp_path / "two")
