"""What a run records about its environment, and what it reports when that has changed on resume."""

from pathlib import Path

import pytest
import torch
from harness import ends, launch, spawn, train
from omegaconf import OmegaConf

from scalegan.config import Engine
from scalegan.engines.ranks import Ranks
from scalegan.errors import SharedError
from scalegan.training import environment
from scalegan.training.run_folder import claim

ALONE = Ranks(0, 1, torch.device("cpu"))


def test_config_yaml_records_the_machine(finished_run: Path) -> None:
    records = OmegaConf.load(finished_run / "config.yaml").records
    assert records.torch == torch.__version__ and records.threads_per_rank == "1" and records.ranks == 1
    assert torch.backends.cpu.get_cpu_capability() in records.device
    assert (records.precision, records.matmul_precision, records.engine) == ("fp32", "highest", "ddp")
    assert {"accelerate", "numpy", "python", "cuda", "cudnn", "nccl", "driver", "tf32", "micro_batch",
            "deterministic", "compile"} <= records.keys()


def test_how_the_ranks_are_connected_is_recorded_where_nccl_may_sum_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight ranks on two hosts, as rank 0 sees them; with gloo, or in a tree, the order of sums is known."""
    class Eight(Ranks):
        def all_gather(self, value):
            return [value] * 5 + [("another", value[1])] * 3

        def broadcast(self, value):
            return value

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    monkeypatch.setattr(torch.cuda, "can_device_access_peer", lambda here, other: here != other)
    monkeypatch.setenv("NCCL_ALGO", "Ring")
    monkeypatch.setenv("NCCL_DEBUG", "WARN")
    found = environment._topology(Eight(0, 8, torch.device("cuda", 3)))
    assert found == "5 + 3 ranks, direct access, NCCL_ALGO=Ring"
    records = environment.record(ALONE, 16, "fp32", Engine())
    assert records["topology"] is None
    before = {**records, "topology": found, "reduction": "tree"}
    assert not environment.changes(before, {**before, "topology": "8 ranks"})
    before["reduction"] = "fast"
    assert environment.changes(before, {**before, "topology": "8 ranks"}) == [
        "topology was 5 + 3 ranks, direct access, NCCL_ALGO=Ring and is now 8 ranks"]


@pytest.mark.parametrize("old, new, says", [
    ({"torch": "2.0"}, {}, ["torch was 2.0 and is now "]),
    ({"threads_per_rank": "9"}, {}, ["threads_per_rank was 9 and is now "]),
    ({"ranks": 2}, {}, ["ranks was 2 and is now 1"]),
    ({"data_order": 1}, {}, ["data_order was 1 and is now 2"]),
    ({"ranks": 2, "reduction": "tree"}, {"reduction": "tree"}, []),
    ({"device": "another (AVX2)"}, {}, ["device was another (AVX2) and is now "]), ({}, {}, []),
    ({"something of the past": 1}, {"something new": 1}, [])])
def test_changes_are_told_one_by_one(old: dict, new: dict, says: list[str]) -> None:
    records = environment.record(ALONE, 16, "fp32", Engine())
    found = environment.changes({**records, **old}, {**records, **new})
    assert len(found) == len(says) and all(f.startswith(s) for f, s in zip(found, says))


@pytest.mark.slow
def test_resume_says_why_bits_may_differ(tiny_recipe: Path, tmp_path: Path) -> None:
    launch(1, f"recipe={tiny_recipe}", f"run_dir={tmp_path}", "total_images=640")
    done = train(f"recipe={tiny_recipe}", f"run_dir={tmp_path}", "total_images=704", "engine.threads=2")
    assert "bits may differ because threads_per_rank was 1 and is now 2" in done.stdout
    assert done.stdout.count("bits may differ") == 1


def claim_own_folder(ranks: Ranks, folder: str) -> str:
    try:
        claim(Path(folder) / str(ranks.rank * ranks.world_size), ranks)
    except SharedError as error:
        return str(error)
    return ""


def test_rank_that_does_not_see_the_run_folder_is_named(tmp_path: Path) -> None:
    for folder in ("0", "2"):
        (tmp_path / folder).mkdir()
    for says in spawn(2, claim_own_folder, str(tmp_path)):
        assert "is not visible to rank 1 on " in says and "storage that all nodes share" in says


@pytest.mark.slow
def test_two_launches_in_one_folder(tiny_recipe: Path, tmp_path: Path) -> None:
    """The second, of two ranks, is refused on both, with one message."""
    lock = claim(tmp_path, ALONE)
    codes = ends(2, f"recipe={tiny_recipe}", f"run_dir={tmp_path}")
    lock.release()
    assert {code for code, _ in codes} == {1} and all("is in use by process " in says for _, says in codes)
