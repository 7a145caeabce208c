"""A run folder that others can write to: what they plant there is neither followed nor waited for, and what is theirs
is left alone."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import train

from scalegan.checkpoints.store import Checkpoints
from scalegan.cluster import records
from scalegan.engines.ranks import Ranks
from scalegan.errors import UserError
from scalegan.support.files import append_line, replacing, write_whole
from scalegan.training.run_lock import RunLock


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    path = tmp_path / "victim"
    path.write_text("precious")
    return path


def link(path: Path, victim: Path) -> None:
    path.symlink_to(victim)


def pipe(path: Path, victim: Path) -> None:
    os.mkfifo(path)


def device(path: Path, victim: Path) -> None:
    path.symlink_to("/dev/zero")


PLANTED = pytest.mark.parametrize("plant", [link, pipe, device], ids=lambda plant: plant.__name__)


@PLANTED
@pytest.mark.parametrize("name", [".lock", ".lease"])
def test_a_run_is_refused_in_a_line(name: str, plant: Callable, victim: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    plant(run / name, victim)
    with pytest.raises(UserError, match=rf"cannot write to the run folder .*\{name}: it is .*; remove it") as error:
        RunLock(run)
    assert "\n" not in str(error.value) and victim.read_text() == "precious"


@PLANTED
@pytest.mark.parametrize("name", [".lock", ".lease"])
def test_status_and_submit_neither_follow_nor_wait(name: str, plant: Callable, victim: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    if name == ".lease":
        (run / ".lock").touch()
    plant(run / name, victim)
    assert records.trainer(run) is None
    records.job_folder(run).mkdir()
    plant(records.job_folder(run) / ".lock", victim)
    with pytest.raises(UserError, match=r"cannot write to .*job"), records.submission_lock(run):
        pass
    assert victim.read_text() == "precious"


@PLANTED
def test_what_is_written_anew_replaces_what_was_planted(plant: Callable, victim: Path, tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    plant(path, victim)
    plant(tmp_path / "metrics.jsonl.tmp", victim)
    write_whole(path, "new")
    assert path.read_text() == "new" and not path.is_symlink() and victim.read_text() == "precious"
    with pytest.raises(KeyError), replacing(path):
        raise KeyError
    assert path.read_text() == "new" and sorted(tmp_path.iterdir()) == [path, victim]


@PLANTED
def test_lines_are_added_to_a_file_of_ours_alone(plant: Callable, victim: Path, tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    append_line(path, "one")
    append_line(path, "two")
    assert path.read_text() == "one\ntwo\n"
    plant(tmp_path / "planted", victim)
    with pytest.raises(OSError):
        append_line(tmp_path / "planted", "x")
    assert victim.read_text() == "precious"


def test_lines_of_several_writers_do_not_mix(tmp_path: Path) -> None:
    lines = [letter * 5000 for letter in "abcd"]
    writers = [threading.Thread(target=lambda line=line: [append_line(tmp_path / "x", line) for _ in range(50)])
               for line in lines]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted((tmp_path / "x").read_text().splitlines()) == sorted(lines * 50)


FOREIGN = ("backup", "2024", "000000000100 copy", "000000000100.bak", ".git", ".000000000100", "٠٠٠٠٠٠٠٠٠١٠٠",
           "000000000700")


def test_only_what_a_killed_save_left_is_removed(tmp_path: Path) -> None:
    import torch

    for name in (*FOREIGN, ".000000000300-0123abcd", "000000000200"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "000000000700" / "notes.txt").write_text("mine")
    (tmp_path / "000000000500").symlink_to(tmp_path / "backup")
    Checkpoints(tmp_path, Ranks(0, 1, torch.device("cpu")), keep=1)
    assert {path.name for path in tmp_path.iterdir()} == {*FOREIGN, "000000000500"}
    assert (tmp_path / "backup" / "model.safetensors").read_bytes() == b"weights"


@pytest.mark.slow
def test_a_run_goes_through_a_folder_full_of_links(tiny_recipe: Path, victim: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "samples").mkdir(parents=True)
    names = ("metrics.jsonl.tmp", "config.yaml.tmp", "reals.png.tmp", "samples/000000000064.png.tmp", "metrics.jsonl",
             "config.yaml", "samples/000000000064.png")
    for name in names:
        (run / name).symlink_to(victim)
    train(f"recipe={tiny_recipe}", f"run_dir={run}", "total_images=64")
    assert victim.read_text() == "precious" and (run / "metrics.jsonl").read_text().count("\n") == 1
    assert not any((run / name).is_symlink() for name in names)
