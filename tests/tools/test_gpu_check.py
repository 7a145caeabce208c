"""The script for GPUs runs in small on CPUs, and what it asks of a GPU is something that recipes know."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from harness import ROOT, environment

from scalegan.config import loading
from scalegan.config.ranks import check_world
from tools.gpu_checking import runs, steps


def lines_of(folder: Path, *arguments: object) -> list[dict[str, Any]]:
    """What the script writes in a dry run; it ends well whatever its parts do."""
    out = folder / "results.jsonl"
    command = [sys.executable, str(ROOT / "tools" / "gpu_check.py"), "--dry-run", "--out", str(out),
               *map(str, arguments)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=300,
                          cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in out.read_text().splitlines()]


@pytest.mark.slow
def test_parts_write_their_lines(tmp_path: Path) -> None:
    lines = lines_of(tmp_path, "draws", "steps", "not_deterministic", "resampling", "loader", "checkpoint")
    assert not [line for line in lines if "failed" in line]
    assert lines[0]["check"] == "machine" and lines[0]["device"] == "cpu" and lines[0]["torch"]
    assert lines[-1]["check"] == "end"
    found = {line["check"] for line in lines}
    assert found >= {"data.prepare", "draws.philox", "draws.same", "step", "resampling", "loader", "checkpoint"}
    assert all(line["same"] for line in lines if line["check"].startswith("draws."))
    assert {(line["case"], line["variant"]) for line in lines if line["check"] == "step"} == {
        (case, variant) for case in steps.SMALL_CASES for variant in ("as_trained", "not_deterministic")}


@pytest.mark.slow
def test_a_part_that_fails_costs_the_others_nothing(tmp_path: Path) -> None:
    lines = lines_of(tmp_path, "peer_stylegan3", "draws_speed", "--stylegan3", tmp_path / "nothing")
    failed, = (line for line in lines if "failed" in line)
    assert failed["part"] == "peer_stylegan3" and "ModuleNotFoundError" in failed["failed"]
    assert {"check": "part done", "part": "draws_speed"}.items() <= next(
        line for line in lines if line.get("part") == "draws_speed").items()


@pytest.mark.slow
def test_parts_are_left_out_when_time_is_up(tmp_path: Path) -> None:
    lines = lines_of(tmp_path, "draws", "--seconds", 4)
    assert [(line["check"], line["part"]) for line in lines[1:-1]] == [("left out", "data"), ("left out", "draws")]


CONFIGURATIONS = {
    **{f"train {name}": keys for name, keys in runs.FAMILIES.items()},
    **{f"narrow {name}": [*keys, *runs.NARROW[name]] for name, keys in runs.FAMILIES.items()},
    **{f"train {name}": keys for name, keys in runs.OTHERS.items()},
    **{f"step {name}": steps.keys_of(*case) for name, case in (steps.CASES | steps.SMALL_CASES).items()},
    **{f"step {name}, compiled": steps.keys_of(*case, compiled=True) for name, case in steps.CASES.items()},
}


@pytest.mark.parametrize("keys", CONFIGURATIONS.values(), ids=CONFIGURATIONS.keys())
def test_what_a_gpu_is_asked_for_is_a_recipe(keys: list[str]) -> None:
    check_world(loading.load([*keys, "run_dir=none", "data.path=none", "total_images=480"]), 1)
