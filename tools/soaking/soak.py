"""Kills a small run again and again, at times drawn from a seeded generator, and checks that it ends with the same bits
as an uninterrupted run."""

import argparse
import json
import random
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np

from scalegan.support.progress import Bar
from tools.soaking.kills import Kill, draw
from tools.soaking.sitting import TIMEOUT_SECONDS, sitting

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


def make_data(folder: Path) -> None:
    """Writes a dataset of 160 noise images in two classes."""
    from scalegan.data.codec import encode
    from scalegan.data.manifest import ImageFormat, LabelSchema
    from scalegan.data.preparing.shards import Record, finish, write_shard

    folder.mkdir(parents=True)
    image = ImageFormat(16, 3, "png", None)
    chance = np.random.default_rng(0)
    parts = []
    for number in range(2):
        pictures = chance.integers(0, 256, (80, 16, 16, 3), dtype=np.uint8)
        records = [Record(encode(picture, image), i % 2) for i, picture in enumerate(pictures)]
        parts.append(write_shard(folder / f"{number:06d}.tar", records, 80 * number, "png"))
    finish(folder, [s for s, _ in parts], [i for _, i in parts], image, LabelSchema("class", ("a", "b")), "noise")


def result_of(run: Path) -> tuple[str, list[dict], dict[str, bytes]]:
    """Everything that must be equal between two runs: digest, reports without times, pictures."""
    from scalegan.checkpoints import store

    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    times = ("seconds", "images_per_second", "mfu", "mfu_of_data_sheet")
    timeless = [{k: v for k, v in row.items() if k not in times} for row in rows]
    pictures = {path.name: path.read_bytes() for path in (run / "samples").glob("*.png")}
    return store.digest(store.read(store.complete(run / "checkpoints")[-1])), timeless, pictures


def _newest(run: Path) -> int:
    """Images seen at the newest checkpoint, or 0."""
    from scalegan.checkpoints import store

    return max((int(path.name) for path in store.complete(run / "checkpoints")), default=0)


def soak(cycles: int, ranks: int, seed: int, folder: Path) -> int:
    """Runs the cycles, prints a line, and returns 0 if the killed run equals the uninterrupted one."""
    data, recipe, begun = folder / "data", folder / "soak.yaml", time.monotonic()
    make_data(data)
    recipe.write_text(RECIPE.format(data=data))
    chance, kills = random.Random(seed), set()

    def sit(run: str, *others: str, kill: Kill | None = None, timeout_seconds: float = TIMEOUT_SECONDS) -> list[int]:
        return sitting([f"recipe={recipe}", f"run_dir={folder / run}", *others], ranks, folder / f"{run}.log", kill,
                       timeout_seconds)

    with Bar("soak", cycles, unit="cycles") as bar:
        for _ in range(cycles):
            kill = draw(chance, ranks)
            workers = chance.choice([0, 0, 0, 1])
            codes = sit("killed", f"total_images={_ENDLESS}", f"data.workers={workers}", kill=kill)
            if not all(codes):
                print(f"a rank exited with code 0 despite {kill}: {codes}; see {folder}")
                return 1
            kills.add((kill.victim, kill.point))
            bar.advance(1, f"{kill.victim}, {kill.point}")
    total = f"total_images={_newest(folder / 'killed') + 160}"
    ends = [sit("killed", total), sit("straight", total, timeout_seconds=60 + 10 * cycles)]
    equal = ends == [[0] * ranks] * 2 and result_of(folder / "killed") == result_of(folder / "straight")
    print(f"{cycles} cycles on {ranks} ranks, seed {seed}: kills of {len(kills)} kinds in {total.partition('=')[2]} "
          "images; the run "
          + ("has the digest, reports and pictures of an uninterrupted one" if equal else
             f"DIFFERS from an uninterrupted one, see {folder}") + f"; {time.monotonic() - begun:.0f} s", flush=True)
    return 0 if equal else 1


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="tools/soak.py", description=__doc__)
    parser.add_argument("--cycles", type=int, default=200, help="number of kills (default 200)")
    parser.add_argument("--ranks", type=int, default=2, choices=(1, 2), help="ranks of the run (default 2)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the kills (default 0)")
    options = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="scalegan-soak-"))
    code = soak(options.cycles, options.ranks, options.seed, folder)
    if code == 0:
        shutil.rmtree(folder)
    return code
