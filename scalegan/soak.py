"""Kills a small run again and again, at moments drawn from a seeded generator, and checks that it ends with the bits of
a straight one.

Ranks are forked from a process that has torch imported, by a parent that plays the launcher; a cycle takes about a
second. Linux only.
"""

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scalegan.data.progress import Bar

_PATIENCE_SECONDS = 120.0
_LONGEST_DELAY_SECONDS = 1.5
_ENDLESS = 1_000_000_000
RECIPE = """
data: {{path: "{data}", resolution: 16, labels: class, workers: 0, block_records: 8, window_blocks: 4}}
model: {{name: dcgan, width: 2, latent_dim: 4, norm_group: 8}}
game: {{name: gan, penalties: {{r1: {{gamma: 0.5, every: 4}}}}}}
batch_size: 16
micro_batch_size: 8
lanes: 2
precision: fp32
total_images: 160
engine: {{reduction: tree}}
log: {{every_images: 80, tensorboard: false}}
snapshot: {{every_images: 200, rows: 2, columns: 4}}
checkpoint: {{every_images: 48}}
"""


@dataclass(frozen=True)
class Kill:
    """Who dies, and when.

    Args:
        victim: "rank", "launcher" or "all".
        rank: the one that strikes, and that dies where victim is "rank".
        point: one of POINTS.
        count: strikes when it comes to that point for the so-manieth time.
        delay: and waits so many seconds before.
    """

    victim: str
    rank: int
    point: str
    count: int = 1
    delay: float = 0.0

    def arm(self) -> None:
        """To be called in the rank that strikes, before it trains."""
        left = self.count

        def strike() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                time.sleep(self.delay)
                if self.victim == "all":
                    os.killpg(0, signal.SIGKILL)
                os.kill(os.getppid() if self.victim == "launcher" else os.getpid(), signal.SIGKILL)
        POINTS[self.point](strike)


Strike = Callable[[], None]


def _at_any_moment(strike: Strike) -> None:
    threading.Thread(target=strike, daemon=True).start()


def _at_an_iteration(strike: Strike) -> None:
    from scalegan import trainer

    play = trainer.play_iteration

    def watched(*arguments: object) -> None:
        play(*arguments)
        strike()
    trainer.play_iteration = watched


def _before_the_shards(strike: Strike) -> None:
    from scalegan import checkpoint

    write = checkpoint.HuggingFaceStorageWriter.write_data

    def watched(self: object, *arguments: object) -> object:
        strike()
        return write(self, *arguments)
    checkpoint.HuggingFaceStorageWriter.write_data = watched


def _between_shards(strike: Strike) -> None:
    """This rank's shard is there, others may not be."""
    from scalegan import checkpoint

    write = checkpoint.HuggingFaceStorageWriter.write_data

    def watched(self: object, *arguments: object) -> object:
        written = write(self, *arguments)
        strike()
        return written
    checkpoint.HuggingFaceStorageWriter.write_data = watched


def _before_a_rename_to(is_meant: Callable[[str], bool]) -> Callable[[Strike], None]:
    def install(strike: Strike) -> None:
        rename = Path.rename

        def watched(self: Path, target: Path) -> Path:
            if is_meant(Path(target).name):
                strike()
            return rename(self, target)
        Path.rename = watched
    return install


def _before_purge(strike: Strike) -> None:
    from scalegan import checkpoint

    discard = checkpoint.discard

    def watched(path: Path) -> None:
        strike()
        discard(path)
    checkpoint.discard = watched


def _inside_purge(strike: Strike) -> None:
    from scalegan import checkpoint

    remove = checkpoint.shutil.rmtree

    def watched(path: Path, *arguments: object, **options: object) -> None:
        strike()
        remove(path, *arguments, **options)
    checkpoint.shutil.rmtree = watched


POINTS: dict[str, Callable[[Strike], None]] = {
    "any moment": _at_any_moment, "iteration": _at_an_iteration, "before the shards": _before_the_shards,
    "between shards": _between_shards, "before rename": _before_a_rename_to(str.isdigit),
    "before COMPLETE": _before_a_rename_to("COMPLETE".__eq__), "before purge": _before_purge,
    "inside purge": _inside_purge,
}
OF_RANK_0 = ("before rename", "before COMPLETE", "before purge", "inside purge")  # which commits checkpoints


def draw(chance: random.Random, ranks: int) -> Kill:
    """A kill of any kind."""
    point = chance.choice(sorted(POINTS))
    victim = chance.choice(["rank", "launcher", "all"])
    rank = 0 if point in OF_RANK_0 else chance.randrange(ranks)
    in_time = point == "any moment"
    return Kill(victim, rank, point, chance.randint(1, 9) if point == "iteration" else 1 if in_time else chance.choice(
        [1, 1, 2]), chance.uniform(0, _LONGEST_DELAY_SECONDS) if in_time else chance.choice([0.0, 0.0, 0.003, 0.03]))


def sitting(arguments: list[str], ranks: int, log: Path, kill: Kill | None = None,
            patience_seconds: float = _PATIENCE_SECONDS) -> list[int]:
    """One start of a run on so many ranks: their exit codes, negative for a signal; waits until all have gone.

    Raises:
        TimeoutError: where one would not go in time; it is then killed.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["scalegan.launch", "torch._dynamo"])
    launcher = context.Process(target=_launcher, args=(arguments, ranks, str(log), kill))
    launcher.start()
    codes = log.with_suffix(".codes")
    group = launcher.pid
    until = time.monotonic() + patience_seconds
    launcher.join(patience_seconds)
    while _lives(group):
        if time.monotonic() > until:
            os.killpg(group, signal.SIGKILL)
            raise TimeoutError(f"a rank is still there {patience_seconds:.0f} s after the start, see {log}")
        time.sleep(0.05)
    return json.loads(codes.read_text()) if launcher.exitcode == 0 else [launcher.exitcode or 1] * ranks


def _lives(group: int) -> bool:
    """Whether a process of that group still runs; zombies do not."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, pgrp = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(pgrp) == group and state != "Z":
            return True
    return False


def _launcher(arguments: list[str], ranks: int, log: str, kill: Kill | None) -> None:
    """Forks the ranks into a process group of their own, and waits for them; as torchrun does, it sends SIGTERM to the
    others when one fails, but it kills none."""
    os.setpgid(0, 0)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    children = []
    for rank in range(ranks):
        child = os.fork()
        if child == 0:
            os._exit(_rank(arguments, rank, ranks, port, log, kill))
        children.append(child)
    codes: dict[int, int] = {}
    while len(codes) < ranks:
        child, status = os.wait()
        codes[child] = os.waitstatus_to_exitcode(status)
        for other in set(children) - codes.keys() if codes[child] else ():
            os.kill(other, signal.SIGTERM)
    Path(log).with_suffix(".codes").write_text(json.dumps([codes[child] for child in children]))


def _rank(arguments: list[str], rank: int, ranks: int, port: int, log: str, kill: Kill | None) -> int:
    # TORCHELASTIC_RUN_ID makes the rank stop when its launcher dies, as under torchrun.
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(ranks), LOCAL_WORLD_SIZE=str(ranks),
                      MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), TORCHELASTIC_RUN_ID="soak",
                      CUDA_VISIBLE_DEVICES="", OMP_NUM_THREADS="1")
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for standard in (1, 2):
        os.dup2(descriptor, standard)
    import torch

    from scalegan.cli import run_verb
    from scalegan.train import main as train

    torch.set_num_threads(1)
    if kill is not None and kill.rank == rank:
        kill.arm()
    try:
        return run_verb(train, arguments)
    except BaseException:
        import traceback

        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()


def make_data(folder: Path) -> None:
    """A set of 160 noisy squares in two classes."""
    from scalegan.data.codec import encode
    from scalegan.data.manifest import ImageFormat, LabelSchema
    from scalegan.data.shards import Record, finish, write_shard

    folder.mkdir(parents=True)
    image = ImageFormat(16, 3, "png", None)
    chance = np.random.default_rng(0)
    parts = []
    for number in range(2):
        pictures = chance.integers(0, 256, (80, 16, 16, 3), dtype=np.uint8)
        records = [Record(encode(picture, image), i % 2) for i, picture in enumerate(pictures)]
        parts.append(write_shard(folder / f"{number:06d}.tar", records, 80 * number, "png"))
    finish(folder, [s for s, _ in parts], [i for _, i in parts], image, LabelSchema("class", ("a", "b")), "noise")


def what_remains(run: Path) -> tuple[str, list[dict], dict[str, bytes]]:
    """All that two equal runs have in common: digest, reports without times, pictures."""
    from scalegan import checkpoint

    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    timeless = [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second", "mfu")} for row in rows]
    pictures = {path.name: path.read_bytes() for path in (run / "samples").glob("*.png")}
    return checkpoint.digest(checkpoint.read(checkpoint.complete(run / "checkpoints")[-1])), timeless, pictures


def _newest(run: Path) -> int:
    """Images of the newest checkpoint, or 0."""
    from scalegan import checkpoint

    return max((int(path.name) for path in checkpoint.complete(run / "checkpoints")), default=0)


def soak(cycles: int, ranks: int, seed: int, folder: Path) -> int:
    """Runs the cycles, prints a line, and returns 0 where the killed run equals the straight one."""
    data, recipe, begun = folder / "data", folder / "soak.yaml", time.monotonic()
    make_data(data)
    recipe.write_text(RECIPE.format(data=data))
    chance, kills = random.Random(seed), set()

    def sit(run: str, *others: str, kill: Kill | None = None, patience_seconds: float = _PATIENCE_SECONDS) -> list[int]:
        return sitting([f"recipe={recipe}", f"run_dir={folder / run}", *others], ranks, folder / f"{run}.log", kill,
                       patience_seconds)

    with Bar("soak", cycles, unit="cycles") as bar:
        for _ in range(cycles):
            kill = draw(chance, ranks)
            workers = chance.choice([0, 0, 0, 1])
            codes = sit("killed", f"total_images={_ENDLESS}", f"data.workers={workers}", kill=kill)
            if not all(codes):
                print(f"a rank ended well after {kill}: {codes}, see {folder}")
                return 1
            kills.add((kill.victim, kill.point))
            bar.advance(1, f"{kill.victim}, {kill.point}")
    total = f"total_images={_newest(folder / 'killed') + 160}"
    ends = [sit("killed", total), sit("straight", total, patience_seconds=60 + 10 * cycles)]
    equal = ends == [[0] * ranks] * 2 and what_remains(folder / "killed") == what_remains(folder / "straight")
    print(f"{cycles} cycles on {ranks} ranks, seed {seed}: kills of {len(kills)} kinds in {total.partition('=')[2]} "
          "images; the run "
          + ("ends with the digest, reports and pictures of the straight one" if equal else
             f"DIFFERS from the straight one, see {folder}") + f"; {time.monotonic() - begun:.0f} s", flush=True)
    return 0 if equal else 1


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="tools/soak.py", description=__doc__)
    parser.add_argument("--cycles", type=int, default=200, help="starts that are killed (200)")
    parser.add_argument("--ranks", type=int, default=2, choices=(1, 2), help="ranks of the run (2)")
    parser.add_argument("--seed", type=int, default=0, help="of the kills (0)")
    options = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="scalegan-soak-"))
    code = soak(options.cycles, options.ranks, options.seed, folder)
    if code == 0:
        shutil.rmtree(folder)
    return code
