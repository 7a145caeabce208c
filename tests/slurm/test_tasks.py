"""A job's tasks, started as srun starts them, on a machine without SLURM."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from harness import PATIENCE_SECONDS, ROOT, digest, environment, launch

from scalegan.cluster.records import history
from scalegan.config import loading

TASK = "import sys; from scalegan.cluster.task import Training; sys.exit(Training(sys.argv[1])())"


def test_the_example_profile_names_a_network_for_gradients_and_for_all_else() -> None:
    """Stop requests and checkpoints go through gloo, on GPUs too."""
    text = (ROOT / "slurm" / "profiles" / "gpu_cluster.yaml").read_text()
    assert "NCCL_SOCKET_IFNAME" in text and "GLOO_SOCKET_IFNAME" in text


@pytest.mark.slow
@pytest.mark.parametrize("stray", [{}, {"WORLD_SIZE": "3"}], ids=["no launcher", "inherited WORLD_SIZE"])
def test_one_of_two_tasks_trains_a_recipe_of_one_lane(stray: dict[str, str], tiny_recipe: Path, tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    run, keys = tmp_path / "run", [f"recipe={tiny_recipe}", "lanes=1", "total_images=256", "engine.reduction=fast"]
    (run / "job").mkdir(parents=True)
    recipe = loading.load([*keys, f"run_dir={run}"])
    (run / "job" / "recipe.yaml").write_text(loading.to_yaml(recipe))
    (run / "job" / "profile.yaml").write_text(yaml.safe_dump({"gres": None}))
    job = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2", "SLURM_NNODES": "1", "SLURM_NODEID": "0",
           "SLURM_JOB_NUM_NODES": "1", "SUBMITIT_EXECUTOR": "slurm"}
    tasks = [subprocess.Popen([sys.executable, "-c", TASK, str(run)], cwd=ROOT, text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, env=environment(SLURM_PROCID=str(number), **job, **stray,
                                                                        SLURM_LOCALID=str(number)))
             for number in range(2)]
    said = [task.communicate(timeout=PATIENCE_SECONDS)[0] for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0], said
    assert "1 of 2 tasks train" in said[0] and "images" not in said[1]
    assert [event["event"] for event in history(run, "7")] == ["started", "finished"]
    launch(1, *keys, f"run_dir={tmp_path / 'alone'}")
    assert digest(run) == digest(tmp_path / "alone")
