"""Runs on a real SLURM: whatever happens to a job, its run resumes by itself, bit-identical to an uninterrupted one."""

import json
import re
from pathlib import Path

import pytest
from harness import cli, digest, launch, reports, samples, wait_until
from slurm_cluster import Cluster, saved_images

from scalegan.cluster.records import history, read_job
from tools.local_cluster import cluster

pytestmark = pytest.mark.slow

LONG = ("total_images=16000", "checkpoint.every_images=2000")


@pytest.fixture(scope="module")
def straight(tiny_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run on two ranks, without SLURM."""
    run = tmp_path_factory.mktemp("straight") / "run"
    launch(2, f"recipe={tiny_recipe}", f"run_dir={run}", *LONG)
    return run


def resumed_at(cluster: Cluster, run: Path) -> list[int]:
    return [int(images.replace(",", "")) for images in re.findall(r"resuming \S+ at ([\d,]+) images",
                                                                  cluster.logs(run))]


def assert_same(run: Path, straight: Path) -> None:
    assert digest(run) == digest(straight)
    assert reports(run) == reports(straight)
    assert samples(run) == samples(straight)


def test_two_nodes_are_one_group(slurm: Cluster, tiny_recipe: Path, finished_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    said = slurm.submit(f"recipe={tiny_recipe}", f"run_dir={run}", "nodes=2").stdout
    job = read_job(run)
    for line in (f"job {job.id}", job.log, f"tail -F {job.log}", f"scalegan status {run}", f"scalegan stop {run}"):
        assert line in said
    refused = slurm.submit(f"recipe={tiny_recipe}", f"run_dir={run}", "nodes=2", code=1)
    assert f"{run} already has a job: {job.id}" in refused.stderr
    slurm.await_report(run)
    live = json.loads(cli("status", "--json", run).stdout)
    assert (live["state"], live["nodes"], live["job"]) == ("running", "node[1-2]", job.id)
    assert live["images"] > 0 and live["images_per_second"] > 0
    slurm.await_end(run)
    assert_same(run, finished_run)
    assert "srun" in (run / "job/log" / f"{job.id}_submission.sh").read_text()
    status = json.loads(cli("status", "--json", run).stdout)
    assert (status["state"], status["images"], status["checkpoint"], status["restarts"]) == ("finished", 2560, 2560, 0)


def test_preempted_requeued_and_a_node_lost(slurm: Cluster, tiny_recipe: Path, straight: Path, tmp_path: Path) -> None:
    """One run through preemption, requeue and lost nodes; an announced stop loses no image."""
    run = tmp_path / "run"
    slurm.submit(f"recipe={tiny_recipe}", f"run_dir={run}", "nodes=2", *LONG)
    job = slurm.await_report(run)
    slurm.command("sbatch", "--partition=high", "--nodes=4", "--output=/dev/null", "--wrap=srun sleep 1")
    wait_until(lambda: slurm.state(job) == "PENDING", "the job is preempted")
    stopped = [saved_images(run)]

    code = run / "job/code/scalegan/cluster/task.py"  # the requeue runs the code that was submitted
    code.write_text(code.read_text() + f"\nPath({str(tmp_path / 'witness')!r}).touch()\n")
    slurm.await_start(run, 1)
    assert (tmp_path / "witness").exists()
    slurm.await_report(run, stopped[-1])
    slurm.command("scontrol", "requeue", job)
    wait_until(lambda: slurm.state(job) == "PENDING", "the job is requeued")
    stopped.append(saved_images(run))

    slurm.await_start(run, 2)
    slurm.await_report(run, stopped[-1])
    assert resumed_at(slurm, run) == stopped  # not one image was lost
    events = [(event["event"], event.get("signal")) for event in history(run, job)]
    assert events == [("started", None), ("stopped", "SIGTERM"), ("started", None), ("stopped", "SIGTERM"),
                      ("started", None)]
    first, last = re.findall(r"\d", slurm.fact(job, "NodeList"))
    cluster.kill_slurmd(int(first))  # its tasks survive, and stop with those of the other node
    slurm.command("scontrol", "update", f"NodeName=node{first}", "State=DOWN", "Reason=silent")  # without the wait
    slurm.await_start(run, 3)
    cluster.start_node(int(first))
    slurm.await_report(run, saved_images(run))
    assert resumed_at(slurm, run)[:2] == stopped and history(run, job)[-2]["signal"] == "SIGTERM"

    first, last = re.findall(r"\d", slurm.fact(job, "NodeList"))
    cluster.kill_node(int(last))  # a machine without power
    slurm.await_start(run, 4)
    slurm.await_end(run)
    cluster.start_node(int(last))
    assert_same(run, straight)
    assert json.loads(cli("status", "--json", run).stdout)["restarts"] == 4


def test_time_limit(slurm: Cluster, tiny_recipe: Path, straight: Path, tmp_path: Path) -> None:
    """SIGUSR2 comes within the first half minute of a one-minute job."""
    run = tmp_path / "run"
    slurm.submit(f"recipe={tiny_recipe}", f"run_dir={run}", "nodes=2", *LONG, "total_images=10000000",
                 "profile.time_minutes=1", "profile.max_preemptions=0")
    job = slurm.await_report(run)
    slurm.await_start(run, 1)
    stop, again = history(run, job)[1:3]
    assert (stop["event"], stop["signal"], again["event"], again["because"]) == ("stopped", "SIGUSR2", "requeued",
                                                                                 "timed out")
    assert again["images"] % 2000  # not at a scheduled checkpoint
    slurm.await_report(run, again["images"])
    assert resumed_at(slurm, run)[0] == again["images"]
    assert cli("stop", run).returncode == 0
    assert slurm.state(job) != "PENDING"
    resubmit = slurm.submit(f"recipe={tiny_recipe}", f"run_dir={run}", "nodes=1", *LONG,
                            f"total_images={saved_images(run) + 640}")
    assert "submitted" in resubmit.stdout
    slurm.await_end(run)
    launch(1, f"recipe={tiny_recipe}", f"run_dir={tmp_path / 'same'}", *LONG, f"total_images={saved_images(run)}")
    assert digest(run) == digest(tmp_path / "same")


def test_elastic_requeue(slurm: Cluster, tiny_recipe: Path, straight: Path, tmp_path: Path) -> None:
    """On two ranks, with a third task to spare; then on one, as the other nodes are taken."""
    run = tmp_path / "run"
    slurm.submit(f"recipe={tiny_recipe}", f"run_dir={run}", "nodes=1-3", *LONG)
    job = slurm.await_report(run)
    assert slurm.fact(job, "NumNodes") == "3" and history(run, job)[0]["ranks"] == 2
    assert "2 of 3 tasks train" in slurm.logs(run)
    block = slurm.command("sbatch", "--parsable", "--partition=high", "--nodes=3", "--output=/dev/null",
                          "--wrap=srun sleep 300")
    slurm.await_start(run, 1)
    assert history(run, job)[-1]["ranks"] == 1
    slurm.await_end(run)
    slurm.command("scancel", block)
    assert_same(run, straight)


@pytest.mark.parametrize("command", ["scancel", "stop"])
def test_a_cancelled_job_is_not_requeued(command: str, slurm: Cluster, tiny_recipe: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    slurm.submit(f"recipe={tiny_recipe}", f"run_dir={run}", "nodes=2", "total_images=1_000_000")
    job = slurm.await_report(run)
    if command == "scancel":
        slurm.command("scancel", job)
    else:
        said = cli("stop", run)
        assert re.search(r"stopped at [\d,]+ images and saved", said.stdout), said.stdout + said.stderr
    wait_until(lambda: slurm.state(job) in ("CANCELLED", "FAILED"), "the job has ended")
    assert slurm.command("squeue", "--noheader", "--jobs", job, check=False) == ""
    assert slurm.fact(job, "Restarts") == "0"
    assert saved_images(run) > 0 and "stopped at" in slurm.logs(run)


def test_failures_of_the_run_are_not_requeued_forever(slurm: Cluster, tiny_recipe: Path, tmp_path: Path) -> None:
    """One run reports an error; another loses ranks again and again without reporting one."""
    named, silent = tmp_path / "named", tmp_path / "silent"
    slurm.submit(f"recipe={tiny_recipe}", f"run_dir={named}", "data.path=/nowhere")
    slurm.await_end(named, "FAILED")
    assert slurm.fact(read_job(named).id, "Restarts") == "0"
    assert "/nowhere" in json.loads(cli("status", "--json", named).stdout)["why"]
    slurm.submit(f"recipe={tiny_recipe}", f"run_dir={silent}", "nodes=2", "profile.max_failures=1",
                 "checkpoint.every_images=0", "total_images=1_000_000")
    for restart in range(2):
        slurm.await_start(silent, restart)
        slurm.await_report(silent)
        slurm.command("scancel", "--signal=KILL", f"{read_job(silent).id}.0", check=False)
        (silent / "metrics.jsonl").unlink()
    slurm.await_end(silent, "FAILED")
    assert "ranks have vanished 2 times without a new checkpoint" in slurm.logs(silent)


def test_sweep_is_one_array(slurm: Cluster, tiny_recipe: Path, tmp_path: Path) -> None:
    said = slurm.submit(f"recipe={tiny_recipe}", "seed=0-2", "batch_size=64,128", f"run_dir={tmp_path / 'sweep'}",
                        "total_images=256").stdout
    runs = sorted(path for path in (tmp_path / "sweep").iterdir() if path.name != "job")
    assert [run.name for run in runs] == [f"seed={s},batch_size={b}" for s in range(3) for b in (128, 64)]
    jobs = {read_job(run).id.split("_")[0] for run in runs}
    assert len(jobs) == 1 and f"array {jobs.pop()} of 6 jobs" in said
    for run in runs:
        slurm.await_end(run)
    assert len({digest(run) for run in runs}) == 6
    table = cli("status", tmp_path / "sweep").stdout
    assert table.count("finished") == 6
