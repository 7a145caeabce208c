"""A run says what it is when it starts, how long it will take, and shows its pictures in TensorBoard."""

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from harness import PATIENCE_SECONDS, cli, environment

from scalegan.config import Engine
from scalegan.games.pool import Pool
from scalegan.training import introduction

QUICK = ("recipe=quickstart", "total_images=192", "log.every_images=64", "snapshot.every_images=64", "snapshot.rows=1")
POINTS = ("recipe=toy_lecture", "total_images=200", "log.tensorboard=false", "snapshot.every_images=0")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("run") / "digits"
    done = cli("train", *QUICK, f"run_dir={folder}", "precision=fp32")
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


@pytest.mark.slow
def test_a_run_introduces_itself(run: tuple[Path, str]) -> None:
    folder, said = run
    for line in (rf"run +{folder}", r"data +embedded:mnist: 5,000 images of 32 x 32 px, grey, 10 classes",
                 r"players +G [\d.]+ k parameters, D [\d.]+ k parameters", r"device +.*\d threads?, fp32, ddp",
                 r"batch +64 samples: 4 micro-batches of 16", r"length +192 images, a picture every 64",
                 rf"watch +tensorboard --logdir {folder}; pictures in {folder}/samples"):
        assert re.search(f"^{line}", said, re.M), f"{line} is not in:\n{said}"


@pytest.mark.slow
def test_progress_has_the_time_left(run: tuple[Path, str]) -> None:
    reports = [line for line in run[1].splitlines() if "images/s" in line]
    assert len(reports) == 3 and all(re.search(r"\d (s|min|h) left", line) for line in reports[:2])
    assert "left" not in reports[-1]


@pytest.mark.slow
def test_tensorboard_shows_the_samples(run: tuple[Path, str]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run[0] / "tensorboard"))
    events.Reload()
    assert [image.step for image in events.Images("samples")] == [0, 64, 128, 192]


@pytest.mark.slow
def test_two_ranks_introduce_themselves_once(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "--module",
               "scalegan.train", *POINTS, "lanes=2", f"run_dir={tmp_path / 'points'}"]
    said = subprocess.run(command, env=environment(), stdout=subprocess.PIPE, text=True, check=True,
                          timeout=PATIENCE_SECONDS).stdout
    assert len(re.findall(r"^players ", said, re.M)) == 1
    assert "data       moons: endless points in 2 dimensions, no labels" in said
    assert re.search(r"device +2 ranks of .*, 1 thread, fp32, ddp", said), said
    assert re.search(r"batch +10 samples: 1 micro-batch of 5 on each of 2 ranks", said), said
    assert f"watch      {tmp_path / 'points' / 'metrics.jsonl'}" in said


class _Spanning(torch.nn.Module):
    spanning = staticmethod(abs)


@pytest.mark.parametrize("device, engine, module, hints", [
    ("cuda", Engine(), torch.nn.Linear(1, 1), True), ("cpu", Engine(), torch.nn.Linear(1, 1), False),
    ("cuda", Engine(cuda_graphs=True), torch.nn.Linear(1, 1), False),
    ("cuda", Engine(name="deepspeed"), torch.nn.Linear(1, 1), False),
    ("cuda", Engine(), Pool(8, (3, 4, 4), 8), False), ("cuda", Engine(), _Spanning(), False),
], ids=["a GPU", "a CPU", "they are on", "DeepSpeed", "a pool of past samples", "a norm group over ranks"])
def test_cuda_graphs_are_hinted_at_where_they_are_possible(device: str, engine: Engine, module: torch.nn.Module,
                                                           hints: bool) -> None:
    run = SimpleNamespace(recipe=SimpleNamespace(engine=engine), game=torch.nn.ModuleList([module]),
                          ranks=SimpleNamespace(device=torch.device(device)))
    assert ("engine.cuda_graphs=true" in introduction._hint(run)) == hints
