"""Preparation as an array, `accelerate launch` under SLURM, and profiles for machines without SLURM."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from harness import ROOT, cli, digest, reports, start, wait_until
from PIL import Image
from slurm_cluster import Cluster, saved_images

from scalegan.cluster.records import read_job
from scalegan.data.manifest import Manifest

pytestmark = pytest.mark.slow


def test_prepare_as_an_array(slurm: Cluster, tmp_path: Path) -> None:
    """Three tasks write the same set as one call."""
    photos, alone, shared = tmp_path / "photos", tmp_path / "alone", tmp_path / "shared"
    photos.mkdir()
    for number in range(160):
        Image.fromarray(np.random.default_rng(number).integers(0, 255, (20, 20, 3), np.uint8)).save(
            photos / f"{number}.png")
    options = ["--resolution", 16, "--shard-records", 32, "--workers", 1]
    assert cli("prepare", photos, alone, *options).returncode == 0
    slurm.command("scontrol", "update", "PartitionName=low", "State=DOWN")      # or it may end too soon
    try:
        said = slurm.submit("prepare", photos, shared, *options, "tasks=3").stdout
        job = read_job(Path(f"{shared}.job"))
        assert f"array {job.id} of 3 jobs" in said
        refused = slurm.submit("prepare", photos, shared, *options, "tasks=3", code=1)
        assert "already has a job" in refused.stderr
    finally:
        slurm.command("scontrol", "update", "PartitionName=low", "State=UP")
    wait_until(lambda: job.state() is None, "the array has ended")
    assert Manifest.load(shared) == Manifest.load(alone), slurm.logs(Path(f"{shared}.job"))
    assert cli("prepare", shared, "--verify").returncode == 0
    assert not (shared / ".prepare").exists()


def test_accelerate_launch_over_two_nodes(slurm: Cluster, tiny_recipe: Path, finished_run: Path,
                                          tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("PROCESSES_PER_NODE", "1")
    monkeypatch.setenv("SCALEGAN_CHECKOUT", str(ROOT))
    job = slurm.command("sbatch", "--parsable", "--gpus-per-node=0", "--cpus-per-task=1", f"--output={tmp_path}/log",
                        ROOT / "slurm" / "accelerate.sbatch", f"recipe={tiny_recipe}", f"run_dir={run}")
    wait_until(lambda: slurm.state(job) in ("COMPLETED", "FAILED"), "the job has ended")
    said = (tmp_path / "log").read_text()
    assert slurm.state(job) == "COMPLETED", said
    assert "ranks: 2" in (run / "config.yaml").read_text()
    assert digest(run) == digest(finished_run)


def test_in_the_background_of_this_machine(tiny_recipe: Path, finished_run: Path, tmp_path: Path) -> None:
    """Two ranks with Submitit's local executor; stopped and resubmitted."""
    run = tmp_path / "run"
    command = ["submit", "profile=local", "profile.gres=null", "gpus_per_node=2", f"recipe={tiny_recipe}",
               f"run_dir={run}"]
    assert cli(*command).returncode == 0
    assert "already has a job" in cli(*command).stderr
    wait_until(lambda: (run / "metrics.jsonl").exists() and reports(run), "it reports")
    assert cli("stop", run).stdout.startswith(f"{run}: stopped at ")
    stopped_at = saved_images(run)
    assert 0 < stopped_at < 2560
    done = cli(*command)
    assert done.returncode == 0, done.stderr
    job = read_job(run)
    wait_until(lambda: job.state() is None, "it has ended")
    assert f"at {stopped_at:,} images" in Path(job.log).read_text()
    assert digest(run) == digest(finished_run)
    assert json.loads(cli("status", "--json", run).stdout)["state"] == "finished"


def test_in_this_process(tiny_recipe: Path, tmp_path: Path) -> None:
    done = cli("submit", "profile=debug", f"recipe={tiny_recipe}", f"run_dir={tmp_path / 'run'}", "total_images=128")
    assert done.returncode == 0, done.stderr
    assert "finished at 128 images" in done.stdout and saved_images(tmp_path / "run") == 128


def test_status_and_stop_of_a_run_without_a_job(tiny_recipe: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = start(f"recipe={tiny_recipe}", f"run_dir={run}", "total_images=10_000_000")
    try:
        wait_until(lambda: (run / "metrics.jsonl").exists() and reports(run), "it reports")
        assert json.loads(cli("status", "--json", run).stdout)["state"] == "running"
        refused = cli("submit", "profile=local", f"recipe={tiny_recipe}", f"run_dir={run}")
        assert refused.returncode == 1 and f"in use by process {process.pid}" in refused.stderr
        stopped = cli("stop", run)
        assert f"stopped at {saved_images(run):,} images and saved" in stopped.stdout
        assert process.wait(60) == 75
        assert json.loads(cli("status", "--json", run).stdout)["state"] == "not running"
    finally:
        process.kill()
        process.communicate()
