"""Whatever is killed, filled up, flipped or planted: no run loses more than the images since its last checkpoint, none
resumes from damaged state, and the end has the bits of an uninterrupted run."""

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import (
    PATIENCE_SECONDS,
    ROOT,
    TRAIN,
    alive,
    descendants,
    digest,
    ends,
    environment,
    launch,
    make_set,
    reports,
    train,
    verb,
    wait_until,
)

from scalegan.checkpoints import store
from scalegan.checkpoints.marker import fingerprint
from scalegan.data import beton_file
from scalegan.errors import UserError
from scalegan.training import liveness, trainer
from tools.soaking.kills import Kill
from tools.soaking.sitting import sitting

OFTEN = ("checkpoint.every_images=160", "log.every_images=200", "snapshot.every_images=0", "total_images=2560")


@pytest.fixture(scope="module")
def straight(tiny_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("faults") / "straight"
    launch(1, f"recipe={tiny_recipe}", f"run_dir={run}", *OFTEN)
    return run


def newest(run: Path) -> int:
    """Images of the newest complete, undamaged checkpoint."""
    whole = [path for path in store.complete(run / "checkpoints") if store.verify(path) is None]
    return int(whole[-1].name) if whole else 0


KILLS = [Kill("all", 1, "before the shards", 3), Kill("rank", 1, "before the shards", 2),
         Kill("all", 0, "between shards", 2), Kill("rank", 0, "between shards", 1, 0.01),
         Kill("all", 0, "before rename", 2), Kill("all", 0, "before COMPLETE", 2),
         Kill("all", 0, "before purge", 1), Kill("all", 0, "inside purge", 1),
         Kill("rank", 0, "iteration", 3), Kill("launcher", 1, "iteration", 2), Kill("all", 0, "iteration", 4)]


@pytest.mark.slow
def test_killed_at_every_named_point(tiny_recipe: Path, straight: Path, tmp_path: Path) -> None:
    """One run on two ranks is killed at each point in turn."""
    run, log = tmp_path / "run", tmp_path / "run.log"
    arguments = [f"recipe={tiny_recipe}", f"run_dir={run}", *OFTEN]
    for kill in KILLS:
        before = newest(run)
        codes = sitting(arguments, 2, log, kill)
        assert all(codes), (kill, codes, log.read_text())
        assert before <= newest(run) < 2560, kill
    assert sitting(arguments, 2, log) == [0, 0], log.read_text()
    assert digest(run) == digest(straight)
    assert reports(run) == reports(straight)
    assert all(path.name.isdigit() for path in (run / "checkpoints").iterdir())  # no leftovers


@pytest.mark.slow
def test_soak_of_three_cycles() -> None:
    done = subprocess.run([sys.executable, str(ROOT / "tools/soak.py"), "--cycles", "3", "--seed", "5"],
                          env=environment(), capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 cycles on 2 ranks, seed 5" in done.stdout and "the digest, reports and pictures" in done.stdout


def rank_of(pid: int) -> int:
    """The rank that a launcher gave to a process, or -1."""
    try:
        pairs = dict(p.split("=", 1) for p in Path(f"/proc/{pid}/environ").read_text().split("\0") if "=" in p)
    except OSError:
        return -1
    return int(pairs.get("RANK", -1))


@pytest.mark.slow
@pytest.mark.parametrize("launcher, ranks, victim, keys", [
    ("torchrun", 4, 2, []), ("accelerate", 2, 0, []),
    ("torchrun", 2, 1, ["engine.name=fsdp", "engine.reduction=fast"])])
def test_dead_rank_is_named_by_the_others(launcher: str, ranks: int, victim: int, keys: list[str], tiny_recipe: Path,
                                          tmp_path: Path) -> None:
    run = tmp_path / "run"
    module = {"torchrun": ["torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}"],
              "accelerate": ["accelerate.commands.launch", "--multi_gpu", f"--num_processes={ranks}",
                             "--main_process_port=0"]}[launcher]
    endless = [f"recipe={tiny_recipe}", f"run_dir={run}", *OFTEN[:3], "total_images=10_000_000", "data.workers=1",
               *keys]
    process = subprocess.Popen([sys.executable, "-m", *module, str(TRAIN), *endless], env=environment(),
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
    below: set[int] = set()
    try:
        wait_until(lambda: ((run / "metrics.jsonl").exists() and len(reports(run)) > 2) or process.poll() is not None,
                   "it trains")
        below = descendants(process.pid)
        ranked = {pid: rank_of(pid) for pid in below}
        trainers = {rank_of(pid): pid for pid in below
                    if ranked[pid] >= 0 and pid not in set().union(*(descendants(p) for p in below if ranked[p] >= 0))}
        assert sorted(trainers) == list(range(ranks)), process.stdout.read()
        os.kill(trainers[victim], signal.SIGKILL)
        others = [pid for rank, pid in trainers.items() if rank != victim]
        wait_until(lambda: not any(map(alive, others)), "the other ranks are gone", 60)
        said, _ = process.communicate(timeout=PATIENCE_SECONDS)
    finally:
        for pid in (process.pid, *below):
            if alive(pid):
                os.kill(pid, signal.SIGKILL)
    assert process.returncode not in (0, 75)
    witness = 1 if victim == 0 else 0
    assert f"rank {witness} stops: rank {victim} (process {trainers[victim]} on " in said
    record = json.loads((run / "last_phase" / f"{witness}.json").read_text())
    assert record["images"] > 200 and record["phase"] in ("D", "D.r1", "G", "checkpoint")
    assert f"rank {victim} " in record["reason"]


def stop_rank_1() -> None:
    """Stops rank 1 (SIGSTOP) after some iterations, and kills it only long after it should have been missed."""
    liveness.BEAT_SECONDS = 1
    play, left = trainer.play_iteration, 5

    def played(*arguments: object) -> None:
        nonlocal left
        left -= 1
        play(*arguments)
        if os.environ["RANK"] == "1" and left == 0:
            if os.fork() == 0:
                time.sleep(40)
                os.kill(os.getppid(), signal.SIGKILL)
                os._exit(0)
            os.kill(os.getpid(), signal.SIGSTOP)
    trainer.play_iteration = played


@pytest.mark.slow
def test_hanging_rank_is_named_by_the_others(tiny_recipe: Path, tmp_path: Path) -> None:
    assert ends(2, f"recipe={tiny_recipe}", f"run_dir={tmp_path}", *OFTEN, before=stop_rank_1) == [(-1, "")] * 2
    record = json.loads((tmp_path / "last_phase" / "0.json").read_text())
    assert record["reason"].startswith("rank 1 (process ") and "has not been heard from for 8 s" in record["reason"]


def fail_on_rank_1() -> None:
    def failing(*arguments: object) -> None:
        raise ValueError("the roof is on fire")
    if os.environ["RANK"] == "1":
        trainer.play_iteration = failing


def test_failing_rank_is_named_by_the_others(tiny_recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="the roof is on fire"):
        ends(2, f"recipe={tiny_recipe}", f"run_dir={tmp_path}", *OFTEN, before=fail_on_rank_1)
    record = json.loads((tmp_path / "last_phase" / "0.json").read_text())
    assert "rank 1 (process " in record["reason"] and "failed: the roof is on fire" in record["reason"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 600 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.slow
def test_full_disk_ends_with_one_line_and_the_run_resumes(small_disk: Path, tiny_recipe: Path, straight: Path) -> None:
    run = small_disk / "run"
    arguments = [f"recipe={tiny_recipe}", f"run_dir={run}", *OFTEN, "checkpoint.keep=1000"]
    done = train(*arguments, code=1)
    assert done.stderr.count("\n") == 1 and "No space left on device" in done.stderr
    assert newest(run) > 0
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    launch(1, *arguments)
    assert digest(run) == digest(straight)


@pytest.mark.slow
def test_damaged_checkpoints_are_skipped_without_other_loss(tiny_recipe: Path, straight: Path, tmp_path: Path) -> None:
    """A byte flips in the newest checkpoint, a shard of the one before is lost, and temporary folders remain."""
    arguments = [f"recipe={tiny_recipe}", f"run_dir={tmp_path}", *OFTEN, "checkpoint.keep=3"]
    launch(2, *arguments, "total_images=1792")
    third, second, first = store.complete(tmp_path / "checkpoints")
    shard = next(first.glob("*.safetensors"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 16
    shard.write_bytes(content)
    next(second.glob("*.safetensors")).unlink()
    for name in (".000000002000-0123", f"{int(first.name) + 64:012d}"):
        shutil.copytree(third, tmp_path / "checkpoints" / name, ignore=shutil.ignore_patterns("COMPLETE"))
    launch(2, *arguments)
    assert digest(tmp_path) == digest(straight)
    assert reports(tmp_path) == reports(straight)
    damaged = [path.name for path in (tmp_path / "checkpoints").iterdir() if not path.name.isdigit()]
    assert sorted(name.split(".")[0] for name in damaged) == sorted([first.name, second.name])


class Bomb:
    """Unpickled, it leaves a file behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.mark),)


@pytest.mark.slow
def test_pickle_in_place_of_any_file_of_a_checkpoint_is_never_run(tiny_recipe: Path, straight: Path,
                                                                  tmp_path: Path) -> None:
    bomb = pickle.dumps(Bomb(tmp_path / "exploded"))
    for name in sorted(path.name for path in store.complete(straight / "checkpoints")[-1].iterdir()):
        run = shutil.copytree(straight, tmp_path / name)
        (store.complete(run / "checkpoints")[-1] / name).write_bytes(bomb)
        with_seal = store.complete(run / "checkpoints")[-1] / "COMPLETE"
        files = json.loads(with_seal.read_text()) if name != "COMPLETE" else None
        if files:  # whoever plants a file can fix the checksums too
            files[name] = fingerprint(with_seal.parent / name)
            with_seal.write_text(json.dumps(files))
        for arguments in (["inspect", run, "--verify"], ["export", run, "--out", tmp_path / "out.safetensors"]):
            done = verb(*arguments)
            assert done.returncode == 0 and done.stderr.count("\n") == 1, (name, done.stderr)
            assert "warning: skipping the damaged checkpoint" in done.stderr
        (code, says), = ends(1, f"recipe={tiny_recipe}", f"run_dir={run}", *OFTEN)
        assert code == 0 and not says
    assert not (tmp_path / "exploded").exists()


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["webdataset", "ffcv"])
def test_pickle_in_place_of_any_file_of_a_data_set_is_never_run(backend: str, tiny_recipe: Path,
                                                                tmp_path: Path) -> None:
    bomb = pickle.dumps(Bomb(tmp_path / "exploded"))
    data = make_set(tmp_path / "data")
    files = sorted(data.iterdir())
    if backend == "ffcv":
        try:
            beton_file.require()
        except UserError as error:
            pytest.skip(str(error))
        beton_file.convert(data)
        files = [data / name for name in ("data.beton", "manifest.json", "index.safetensors")]
    for path in files:
        content = path.read_bytes()
        path.write_bytes(bomb)
        (code, says), = ends(1, f"recipe={tiny_recipe}", f"run_dir={tmp_path / 'runs' / path.name}",
                             f"data.path={data}", f"data.backend={backend}", *OFTEN)
        assert code in (1, 2) and path.name in says and "\n" not in says, path.name
        path.write_bytes(content)
    assert not (tmp_path / "exploded").exists()
    pickle.loads(bomb)
    assert (tmp_path / "exploded").exists()  # the bomb was live
