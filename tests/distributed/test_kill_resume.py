"""A run that is killed and restarted until it is done ends with the bits of an uninterrupted one."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from harness import (
    PATIENCE_SECONDS,
    TRAIN,
    alive,
    descendants,
    digest,
    environment,
    launch,
    reports,
    samples,
    start,
    train,
    wait_until,
)

from scalegan.checkpoints import store

pytestmark = pytest.mark.slow

# Reports, pictures and checkpoints at intervals that are not multiples of each other, nor of the batch of 64.
OFTEN = ("checkpoint.every_images=96", "log.every_images=200", "snapshot.every_images=500", "data.workers=1",
         "total_images=3200")


def arguments(recipe: Path, run: Path, *others: str) -> list[str]:
    return [f"recipe={recipe}", f"run_dir={run}", *others]


def newest_images(run: Path, committed: bool = True) -> int:
    """Images of the newest complete checkpoint, or of the newest that was started."""
    if committed:
        return max((int(path.name) for path in store.complete(run / "checkpoints")), default=-1)
    names = os.listdir(run / "checkpoints") if (run / "checkpoints").is_dir() else []
    return max((int(name.lstrip(".")[:12]) for name in names if name.lstrip(".")[:12].isdigit()), default=-1)


def kill_tree(process: subprocess.Popen) -> None:
    """Sends SIGKILL to a process and all its descendants."""
    doomed = {process.pid, *descendants(process.pid)}
    for pid in doomed:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.communicate(timeout=PATIENCE_SECONDS)
    wait_until(lambda: not any(map(alive, doomed)), "the killed processes are gone")


def wait_for_report(run: Path, process: subprocess.Popen, after_images: int = 0) -> None:
    """Waits until a run has reported more than `after_images` images."""
    def reported() -> bool:
        assert process.poll() is None, process.communicate()
        return (run / "metrics.jsonl").exists() and any(row["images"] > after_images for row in reports(run))
    wait_until(reported, "there is a report")


def assert_same_run(run: Path, straight: Path) -> None:
    assert digest(run) == digest(straight)
    assert [list(row.items()) for row in reports(run)] == [list(row.items()) for row in reports(straight)]
    assert samples(run) == samples(straight)


@pytest.mark.parametrize(("precision", "ranks"), [("fp32", 1), ("fp32", 2), ("bf16", 2)])
def test_killed_at_random_moments(ranks: int, precision: str, tiny_recipe: Path, tmp_path: Path) -> None:
    """Also during saves: every second kill comes as soon as a checkpoint's temporary folder exists."""
    straight, run = tmp_path / "straight", tmp_path / "run"
    launch(ranks, *arguments(tiny_recipe, straight, f"precision={precision}", *OFTEN))
    chance = random.Random(f"{ranks} {precision}")
    for number, target in enumerate(sorted(chance.sample(range(128, 2900), 3))):
        process = start(*arguments(tiny_recipe, run, f"precision={precision}", *OFTEN), ranks=ranks)
        in_save = number % 2 == 0
        wait_until(lambda: newest_images(run, not in_save) >= target or process.poll() is not None,  # noqa: B023
                   f"there is a checkpoint at {target} images")
        time.sleep(0 if in_save else chance.uniform(0, 0.2))
        assert process.poll() is None, process.communicate()
        kill_tree(process)
        assert newest_images(run) < 3200
    train(*arguments(tiny_recipe, run, f"precision={precision}", *OFTEN), ranks=ranks)
    assert_same_run(run, straight)


def test_stopped_by_each_signal(tiny_recipe: Path, finished_run: Path, tmp_path: Path) -> None:
    """The exit code is 75, and not one image is lost although no checkpoint is due."""
    run, resumed_at = tmp_path / "run", 0
    quiet = arguments(tiny_recipe, run, "checkpoint.every_images=0", "data.workers=2")
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGUSR2, signal.SIGHUP):
        process = start(*quiet)
        wait_until(lambda: ((run / "metrics.jsonl").exists()
                            and any(row["images"] > resumed_at for row in reports(run)))  # noqa: B023
                   or process.poll() is not None, "there is a report")  # noqa: B023
        process.send_signal(number)
        said = "".join(process.communicate())
        assert process.returncode == 75, said
        if resumed_at:
            assert f"at {resumed_at:,} images" in said
        stopped_at = int(re.search(r"stopped at ([\d,]+) images", said)[1].replace(",", ""))
        assert stopped_at > resumed_at
        assert newest_images(run) == stopped_at
        resumed_at = stopped_at
    train(*quiet)
    assert_same_run(run, finished_run)


@pytest.mark.parametrize("launcher", ["torchrun", "accelerate"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killing_the_launcher_leaves_no_trainer(launcher: str, number: signal.Signals, tiny_recipe: Path,
                                                tmp_path: Path) -> None:
    run = tmp_path / "run"
    module = {"torchrun": ["torch.distributed.run", "--standalone", "--nproc_per_node=2"],
              "accelerate": ["accelerate.commands.launch", "--multi_gpu", "--num_processes=2",
                             "--main_process_port=0"]}[launcher]
    endless = arguments(tiny_recipe, run, "data.workers=1", "checkpoint.every_images=0", "log.every_images=64",
                        "snapshot.every_images=0", "total_images=10_000_000")
    process = subprocess.Popen([sys.executable, "-m", *module, str(TRAIN), *endless], env=environment(),
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
    try:
        wait_until(lambda: ((run / "metrics.jsonl").exists() and len(reports(run)) > 3) or process.poll() is not None,
                   "it trains")
        assert process.poll() is None, process.communicate()
        trainers = descendants(process.pid)
        assert len(trainers) >= 2 * 2  # two ranks with a worker each
        process.send_signal(number)
        wait_until(lambda: not any(map(alive, trainers)), "every trainer is gone", 120)
        said, _ = process.communicate(timeout=PATIENCE_SECONDS)
    finally:
        kill_tree(process)
    assert newest_images(run) >= 64, said  # the ranks saved before they exited
    images = newest_images(run)
    launch(2, *endless[:-1], f"total_images={images + 64}")
    launch(2, *arguments(tiny_recipe, tmp_path / "straight", *endless[2:-1], f"total_images={images + 64}"))
    assert digest(run) == digest(tmp_path / "straight")


def test_second_run_in_the_same_folder_is_refused(tiny_recipe: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    first = start(*arguments(tiny_recipe, run, "total_images=10_000_000", "log.every_images=64"))
    try:
        wait_for_report(run, first)
        second = train(*arguments(tiny_recipe, run), code=1)
        assert f"in use by process {first.pid}" in second.stderr
        assert second.stderr.count("\n") == 1
        assert first.poll() is None
    finally:
        kill_tree(first)


def test_killed_loader_worker_ends_the_run_with_one_line(tiny_recipe: Path, tmp_path: Path) -> None:
    """The kernel's out-of-memory killer prefers loader workers, and strikes while the trainer waits or computes."""
    for attempt in range(4):
        run = tmp_path / str(attempt)
        process = start(*arguments(tiny_recipe, run, "total_images=10_000_000", "data.workers=2",
                                   "log.every_images=64"))
        try:
            wait_for_report(run, process)
            os.kill(max(descendants(process.pid)), signal.SIGKILL)
            said = "".join(process.communicate(timeout=60))
        finally:
            kill_tree(process)
        assert process.returncode == 1, said
        assert "scalegan: error: a loader worker died" in said
        assert "Traceback" not in said


def test_fp16_resumes_with_its_scales(tiny_recipe: Path, tmp_path: Path) -> None:
    half = ["precision=fp16", "checkpoint.every_images=0"]
    launch(1, *arguments(tiny_recipe, tmp_path / "straight", *half, "total_images=1280"))
    launch(1, *arguments(tiny_recipe, tmp_path / "run", *half, "total_images=640"))
    scale = store.metadata_of(store.complete(tmp_path / "run/checkpoints")[-1])["scalers"]
    assert scale["G"]["scale"] > 0 and scale["D"]["_growth_tracker"] > 0
    launch(2, *arguments(tiny_recipe, tmp_path / "run", *half, "total_images=1280"))
    assert digest(tmp_path / "run") == digest(tmp_path / "straight")
