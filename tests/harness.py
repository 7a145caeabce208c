"""Test helpers: a small dataset, real ranks, real command lines. Every wait has a time-out."""

import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from forked import PATIENCE_SECONDS, ROOT, Started, free_port, place, server

TRAIN = ROOT / "scalegan" / "train.py"
SHARD_SIZES = (64, 64, 64, 64, 48)

TINY_RECIPE = """# A small version of the quickstart
data: {{path: "{data}", resolution: 16, labels: class, workers: 0, block_records: 8, window_blocks: 4}}
model: {{name: dcgan, width: 4, latent_dim: 8, norm_group: 16}}
game: {{name: gan, loss: non_saturating, penalties: {{r1: {{gamma: 0.5, every: 4}}}}}}
optimizer: {{G: {{lr: 4e-4}}, D: {{lr: 4e-4}}}}
batch_size: 64
micro_batch_size: 16
lanes: 4
precision: fp32
total_images: 2560
engine: {{reduction: tree}}
ema: {{half_life_images: 500, ramp_up: 0.1}}
log: {{every_images: 300, tensorboard: false}}
snapshot: {{every_images: 900, rows: 2, columns: 4}}
checkpoint: {{every_images: 700}}
"""

# The rest of a recipe that names data, model and game: 20 updates, which 1, 2 and 4 ranks can share.
SHORT_RUN = """
optimizer: {{default: {{lr: 1e-3}}}}
batch_size: 16
micro_batch_size: 4
lanes: 4
precision: fp32
total_images: 320
engine: {{reduction: tree}}
log: {{every_images: 80, tensorboard: false}}
snapshot: {{every_images: 160, rows: 2, columns: 3}}
checkpoint: {{every_images: 80}}
"""


def make_set(folder: Path, shard_sizes: Sequence[int] = SHARD_SIZES, encoding: str = "jpeg", size: int = 16) -> Path:
    """Writes a shard set of four classes: noisy squares coloured by class."""
    from scalegan.data.codec import encode
    from scalegan.data.manifest import ImageFormat, LabelSchema
    from scalegan.data.preparing.shards import Record, finish, write_shard

    folder.mkdir(parents=True)
    image = ImageFormat(size, 3, encoding, 90 if encoding in ("jpeg", "webp") else None)
    colours = np.array([[220, 30, 30], [30, 220, 30], [30, 30, 220], [200, 200, 60]])
    parts, first = [], 0
    for number, count in enumerate(shard_sizes):
        records = []
        for index in range(first, first + count):
            noise = np.random.default_rng(index).integers(-30, 30, (size, size, 3))
            pixels = (colours[index % 4] + noise).clip(0, 255).astype(np.uint8)
            records.append(Record(encode(pixels, image), index % 4))
        parts.append(write_shard(folder / f"{number:06d}.tar", records, first, encoding))
        first += count
    finish(folder, [s for s, _ in parts], [i for _, i in parts], image, LabelSchema("class", tuple("abcd")), "made up")
    return folder


def environment(**extra: str) -> dict[str, str]:
    """This process's environment without any launcher's variables, for single-threaded processes on CPUs."""
    launchers = ("ACCELERATE_", "TORCHELASTIC_", "SLURM_", "MASTER_", "SCALEGAN_")
    own = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK")
    kept = {k: v for k, v in os.environ.items()
            if k == "SLURM_CONF" or (k not in own and not k.startswith(launchers))}
    return {**kept, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", **extra}


def cli(*arguments: object, cwd: Path | None = None, timeout: float = PATIENCE_SECONDS,
        **extra: str) -> subprocess.CompletedProcess[str]:
    """Runs `scalegan ARGUMENTS` in a new process."""
    door = "import sys; from scalegan.cli import main; sys.argv[0] = 'scalegan'; sys.exit(main())"
    return subprocess.run([sys.executable, "-c", door, *map(str, arguments)], cwd=cwd, env=environment(**extra),
                          capture_output=True, text=True, timeout=timeout)


def verb(*arguments: object, **extra: str) -> subprocess.CompletedProcess[str]:
    """As `cli`, in a fork, which has imported torch already."""
    process = Started([str(ROOT / "scalegan" / "__main__.py"), *map(str, arguments)], 1, environment(**extra))
    said = process.communicate()
    return subprocess.CompletedProcess(arguments, process.returncode, *said)


def train_command(*arguments: object, ranks: int = 1) -> list[str]:
    """The command that trains on `ranks` ranks: plain python for one, torchrun for more."""
    launcher = [sys.executable]
    if ranks > 1:
        launcher += ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}"]
    return [*launcher, str(TRAIN), *map(str, arguments)]


def train(*arguments: object, ranks: int = 1, cwd: Path | None = None, code: int | None = 0,
          **extra: str) -> subprocess.CompletedProcess[str]:
    """Trains to the end, on several ranks by torchrun, and checks the exit code (torchrun's is 1 whatever its ranks'
    codes were)."""
    if ranks == 1:
        process = Started([str(TRAIN), *map(str, arguments)], 1, environment(**extra), cwd)
        said = process.communicate()
        done = subprocess.CompletedProcess(arguments, process.returncode, *said)
    else:
        done = subprocess.run(train_command(*arguments, ranks=ranks), cwd=cwd, env=environment(**extra),
                              capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    assert code is None or done.returncode == code, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def start(*arguments: object, ranks: int = 1, **extra: str) -> Started:
    """Starts training on `ranks` ranks in a new session, without the time that a launcher and imports would take."""
    return Started([str(TRAIN), *map(str, arguments)], ranks, environment(PYTHONUNBUFFERED="1", **extra))


def digest(run: Path) -> str:
    """SHA-256 over every tensor of a run's newest checkpoint, whose files must be intact."""
    from scalegan.checkpoints import store

    newest = store.complete(run / "checkpoints")[-1]
    assert store.verify(newest) is None
    return store.digest(store.read(newest))


def state(images: int, **more: Any) -> dict[str, Any]:
    """The state of a checkpoint, as far as every run's has it."""
    return {"images": images, "iterations": images, "updates": {}, "attempt": 0, "means": {}, "seconds": 0.0,
            "recipe": {}, "environment": {}, **more}


def reports(run: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl, without times."""
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    rows = [json.loads(line) for line in lines if line.endswith("\n")]  # a running run's last line may be incomplete
    times = ("seconds", "images_per_second", "mfu", "mfu_of_data_sheet")
    return [{k: v for k, v in row.items() if k not in times} for row in rows]


def samples(run: Path) -> dict[str, bytes]:
    """Every picture of a run, by name."""
    return {path.name: path.read_bytes() for path in (run / "samples").glob("*.png")}


def wait_until(holds: Callable[[], Any], what: str, timeout: float = PATIENCE_SECONDS) -> Any:
    """Polls `holds` until it returns something true, and returns that; fails after `timeout` seconds."""
    until = time.monotonic() + timeout
    while not (answer := holds()):
        assert time.monotonic() < until, f"gave up waiting until {what}"
        time.sleep(0.01)
    return answer


def descendants(pid: int) -> set[int]:
    """Pids of all descendants of `pid`, from /proc."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found, todo = set(), [pid]
    while todo:
        below = children.get(todo.pop(), [])
        found.update(below)
        todo += below
    return found


def alive(pid: int) -> bool:
    """Whether a process is still running; a zombie is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def check_a_kill_changes_no_bit(alone: Path, command: Sequence[str], folder: Path,
                                ranks: tuple[int, int] = (2, 4)) -> None:
    """Trains in `folder` on two ranks, kills them after a checkpoint, goes on with four, or other numbers of ranks, and
    compares with the run `alone` of the same command."""
    process = start(*command, f"run_dir={folder}", ranks=ranks[0])
    wait_until(lambda: list(folder.glob("checkpoints/*/COMPLETE")), "there is a checkpoint")
    for pid in {process.pid, *descendants(process.pid)}:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
    launch(ranks[1], *command, f"run_dir={folder}")
    assert digest(folder) == digest(alone) and samples(folder) == samples(alone) and reports(folder) == reports(alone)


def spawn(world: int, function: Callable, *arguments: object) -> list[Any]:
    """Runs `function(ranks, *arguments)` on `world` real ranks over gloo; returns their results, by rank."""
    return _on_ranks(world, _joined, function, *arguments)


def launch(world: int, *arguments: object) -> None:
    """Trains with these arguments on `world` ranks, as `train` does, but without a launcher's start-up time."""
    assert _on_ranks(world, _launched, *map(str, arguments)) == [0] * world


def ends(world: int, *arguments: object, before: Callable[[], None] = int) -> list[tuple[int, str]]:
    """Trains on `world` ranks and returns each rank's exit code and error message, (-1, "") for a rank that died.
    `before` is called on every rank first."""
    return _on_ranks(world, _ended, before, *map(str, arguments), missing=(-1, ""))


def _on_ranks(world: int, function: Callable, *arguments: object, missing: Any = None) -> list[Any]:
    """Forks the ranks from a server that has already imported torch, so that they start at once. `missing` is the
    result of a rank that died; if it is None, such a rank is a failure."""
    context, port = server(), free_port()
    pipes, processes = [], []
    for rank in range(world):
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_rank, args=(sender, rank, world, port, function, arguments))
        process.start()
        sender.close()
        pipes.append(receiver)
        processes.append(process)
    try:
        until, results = time.monotonic() + PATIENCE_SECONDS, []
        for rank, pipe in enumerate(pipes):
            assert pipe.poll(max(0.0, until - time.monotonic())), f"rank {rank} of {world} did not answer"
            try:
                problem, result = pickle.loads(pipe.recv_bytes())
            except EOFError:
                assert missing is not None, f"rank {rank} of {world} died"
                problem, result = None, missing
            assert problem is None, f"rank {rank} of {world}:\n{problem}"
            results.append(result)
        return results
    finally:
        for process in processes:
            process.join(10)
            process.kill()


def _rank(sender: Any, rank: int, world: int, port: int, function: Callable, arguments: tuple) -> None:
    import torch

    torch.set_num_threads(1)
    if world > 1:
        os.environ.update(place(rank, world, port))
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    try:
        answer = (None, function(*arguments))
    except BaseException:
        answer = (traceback.format_exc(), None)
    sender.send_bytes(pickle.dumps(answer))


def _joined(function: Callable, *arguments: object) -> Any:
    from scalegan.engines.ranks import join, leave

    ranks = join()
    result = function(ranks, *arguments)
    ranks.barrier()
    leave()
    return result


def _ended(before: Callable[[], None], *arguments: str) -> tuple[int, str]:
    from scalegan.errors import UserError

    before()
    try:
        return _launched(*arguments), ""
    except UserError as error:
        return error.exit_code, str(error)


def _launched(*arguments: str) -> int:
    from scalegan.config import loading
    from scalegan.training.launch import launch

    return launch(loading.load(list(arguments)))
