"""The states of many jobs, in one question; and of a run that is past its last image."""

from pathlib import Path

import pytest
from harness import wait_until
from slurm_cluster import Cluster

from scalegan.cluster import slurm as commands
from scalegan.cluster.status import described


@pytest.mark.slow
def test_states_of_jobs_arrays_and_of_what_is_gone(slurm: Cluster) -> None:
    sbatch = ("sbatch", "--parsable", "--nodes=1", "--output=/dev/null", "--wrap=sleep 120")
    job, later = slurm.command(*sbatch), slurm.command(*sbatch, "--begin=now+1hour")
    array = slurm.command(*sbatch, "--array=0-1%1")
    try:
        running = {job: "RUNNING", f"{array}_0": "RUNNING"}
        wait_until(lambda: commands.states(list(running)) == running, "both run")
        found = commands.states([job, later, array, f"{array}_0", f"{array}_1", "99999999"])
        assert found == {**running, later: "PENDING", f"{array}_1": "PENDING", array: found[array]}
        assert commands.states([later]) == {later: "PENDING"} and commands.states(["99999999"]) == {}
        assert commands.states(["99999998", "99999999"]) == {} and commands.states([]) == {}
    finally:
        slurm.command("scancel", job, later, array)


@pytest.mark.parametrize("images, left", [(1024, 0), (960, 20)])
def test_no_time_is_left_past_the_last_image(images: int, left: int, tmp_path: Path) -> None:
    """A run of 1,000 images in batches of 64 that evaluates at the end."""
    (tmp_path / "config.yaml").write_text("total_images: 1000\n")
    (tmp_path / "metrics.jsonl").write_text(f'{{"images": {images}, "images_per_second": 2.0}}\n')
    assert described(tmp_path, None, "RUNNING")["seconds_left"] == left
