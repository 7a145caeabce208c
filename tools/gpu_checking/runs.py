"""Whole training runs through the command line: whether they train, and whether a killed one ends in the same bits."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from io import BytesIO
from pathlib import Path

from tools.gpu_checking.check import Check, last_lines

_SECONDS = 120      # of one command
_AT_ONCE = 6        # runs beside each other; they are to end well, not to be fast

# Published shapes, but for their batches; CPUs get them narrow.
FAMILIES = {
    "dcgan": ["recipe=celeba_dcgan", "batch_size=64", "micro_batch_size=32", "lanes=4"],
    "r3gan_ada": ["recipe=celeba_r3gan", "batch_size=16", "micro_batch_size=8", "lanes=2", "augment.p=0.3"],
    "stylegan2": ["recipe=celeba_stylegan2", "batch_size=16", "micro_batch_size=8", "lanes=2"],
    "stylegan2_ada": ["recipe=celeba_stylegan2", "batch_size=16", "micro_batch_size=8", "lanes=2", "augment.name=ada",
                      "augment.p=0.2"],
    "biggan": ["recipe=celeba_biggan", "batch_size=32", "micro_batch_size=32", "lanes=2", "data.labels=class"],
    "biggan_deep": ["recipe=celeba128_biggan_deep", "batch_size=32", "micro_batch_size=32", "lanes=2",
                    "data.labels=class"],
}
# What else the recipes ask of a GPU: other optimizers and losses, other games and networks, other engines.
OTHERS = {
    "clipped_rmsprop": ["recipe=wgan_celeba", "batch_size=32", "lanes=2"],
    "autoencoder": ["recipe=ebgan_pt_celeba", "batch_size=32", "lanes=2"],
    "points": ["recipe=toy_lecture"],
    "infogan": ["recipe=infogan_mnist"],
    "bigan": ["recipe=bigan_mnist"],
    "compiled": ["recipe=celeba_dcgan", "batch_size=32", "lanes=2", "engine.compile=true"],
    "recomputed": ["recipe=celeba_stylegan2", "batch_size=8", "lanes=2", "engine.activation_checkpointing=true"],
    "tree": ["recipe=celeba_dcgan", "batch_size=32", "micro_batch_size=16", "lanes=2", "engine.reduction=tree"],
}
_NARROW_STYLEGAN2 = ["model.channel_base=256", "model.channel_max=16", "model.w_dim=16", "model.latent_dim=16",
                     "model.mapping_layers=2"]
NARROW = {
    "dcgan": ["model.width=4"],
    "r3gan_ada": ["model.width=16", "model.cardinality=4"],
    "stylegan2": _NARROW_STYLEGAN2,
    "stylegan2_ada": _NARROW_STYLEGAN2,
    "biggan": ["model.width=8"],
    "biggan_deep": ["model.width=8"],
}
_QUIET = ["checkpoint.every_images=0", "snapshot.rows=2", "snapshot.columns=4", "log.tensorboard=false",
          "data.workers=2"]


def data(check: Check) -> None:
    """Pictures, written as files and prepared by the documented command."""
    count, side = (128, 48) if check.small else (1024, 288)
    folder = check.scratch / "pictures"
    start = time.perf_counter()
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(partial(_picture, folder, side), range(count), chunksize=16))
    check.say("data.pictures", count=count, side=side, seconds=time.perf_counter() - start)
    for size, shards in check.shards.items():
        with check.attempt("data.prepare", resolution=size):
            start = time.perf_counter()
            _call(["prepare", str(folder), str(shards), "--resolution", str(size), "--labels", "class"])
            seconds = time.perf_counter() - start
            check.say("data.prepare", resolution=size, seconds=seconds, images_per_s=count / seconds)


def train(check: Check) -> None:
    """A few iterations of every family in every precision."""
    precisions = ["fp32", "bf16"] if check.small else ["fp32", "bf16", "fp16"]
    families = ["dcgan", "stylegan2"] if check.small else list(FAMILIES)

    def one(family: str, precision: str) -> None:
        batch = _batch(family)
        run = check.scratch / "train" / f"{family}_{precision}"
        images = batch * (3 if check.small else 24)
        with check.attempt("train", family=family, precision=precision):
            start = time.perf_counter()
            said = _train(check, family, run, precision, images, f"log.every_images={4 * batch}",
                          f"snapshot.every_images={images}")
            check.say("train", family=family, precision=precision, images=images, ended="well",
                      seconds=time.perf_counter() - start, report=_last_report(run), warnings=_warnings(said))

    _side_by_side(one, [(family, precision) for precision in precisions for family in families])


def others(check: Check) -> None:
    """A few iterations of other games, optimizers and engines; a run that evaluates; and what is done with a run."""
    names = ["points"] if check.small else list(OTHERS)

    def one(name: str) -> None:
        run = check.scratch / "others" / name
        with check.attempt("others", name=name):
            start = time.perf_counter()
            where = [] if name == "points" else _data_keys(check)
            said = _call(["train", *OTHERS[name], *where, *_QUIET[:-1], f"run_dir={run}", "total_images=480",
                          "log.every_images=160", "snapshot.every_images=480", "precision=auto"])
            check.say("others", name=name, seconds=time.perf_counter() - start, report=_last_report(run),
                      warnings=_warnings(said))

    def commands() -> None:
        run = check.scratch / "others" / "evaluated"
        count = 32 if check.small else 256
        calls = {"train": _arguments(check, "dcgan", run, "bf16", 2 * count, [
                     f"eval.every_images={count}", f"eval.num_samples={count}", f"eval.num_reals={count}",
                     f"snapshot.every_images={count}", f"log.every_images={count}", "log.profile_updates=2"]),
                 "sample": ["sample", str(run), "--seeds", "0-15", "--out", str(run / "drawn")],
                 "evaluate": ["evaluate", str(run), "--num-samples", str(count), "--num-reals", str(count),
                              "--metrics", "fid,kid,prdc"],
                 "export": ["export", str(run), "--out", str(run / "g.safetensors")],
                 "inspect": ["inspect", str(run), "--verify"]}
        for name, arguments in calls.items():
            with check.attempt("others.command", name=name):
                start = time.perf_counter()
                said = _call(arguments)
                check.say("others.command", name=name, seconds=time.perf_counter() - start, said=said[-300:])

    _side_by_side(lambda work: work(), [(commands,), *((lambda name=name: one(name),) for name in names)])


def restart(check: Check) -> None:
    """The same run twice, and once killed by SIGKILL and begun again: digests of every tensor."""
    cases = [("dcgan", "bf16")] if check.small else [("dcgan", "bf16"), ("r3gan_ada", "fp32"), ("stylegan2", "bf16"),
                                                     ("stylegan2", "fp16"), ("biggan", "bf16")]

    def one(family: str, precision: str) -> None:
        from scalegan.checkpoints import store

        batch = _batch(family)
        images, often = (8 * batch, 2 * batch) if check.small else (40 * batch, 5 * batch)
        keys = [f"checkpoint.every_images={often}", f"log.every_images={often}"]
        folder = check.scratch / "restart" / f"{family}_{precision}"
        folders = {name: folder / name for name in ("one", "two", "killed")}
        with check.attempt("restart", family=family, precision=precision):
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(lambda name: _train(check, family, folders[name], precision, images, *keys),
                              ("one", "two")))
            at = _train_until_killed(check, family, folders["killed"], precision, images, keys)
            _train(check, family, folders["killed"], precision, images, *keys)
            newest = {name: store.complete(folder / "checkpoints")[-1] for name, folder in folders.items()}
            digests = {name: store.digest(store.read(path))[:16] for name, path in newest.items()}
            check.say("restart", family=family, precision=precision, images=images, killed_at=at, **digests,
                      same_twice=digests["one"] == digests["two"], same_after_kill=digests["one"] == digests["killed"],
                      differing=_differing(*(store.read(newest[name]) for name in ("one", "killed"))))

    _side_by_side(one, cases, at_once=3)


def _picture(root: Path, side: int, number: int) -> None:
    """Noise whose power falls with frequency, as in photos, as a JPEG of one of four classes."""
    import numpy as np
    from PIL import Image

    folder = root / "abcd"[number % 4]
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.Generator(np.random.Philox(number))
    pixels = np.zeros((side, side, 3), np.float32)
    for octave in range(1, 7):
        grid = Image.fromarray(random.integers(0, 256, (2**octave, 2**octave, 3), np.uint8))
        pixels += (np.asarray(grid.resize((side, side), Image.Resampling.BILINEAR), np.float32) - 128) / 2**octave
    buffer = BytesIO()
    Image.fromarray((pixels + 128).clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=92)
    (folder / f"{number:06d}.jpg").write_bytes(buffer.getvalue())


def _batch(family: str) -> int:
    return next(int(key.partition("=")[2]) for key in FAMILIES[family] if key.startswith("batch_size="))


def _side_by_side(work, cases: Sequence[tuple], at_once: int = _AT_ONCE) -> None:
    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(lambda case: work(*case), cases))


def _arguments(check: Check, family: str, run: Path, precision: str, images: int, keys: Sequence[str]) -> list[str]:
    return ["train", *FAMILIES[family], *(NARROW[family] if check.small else ()), *_QUIET, *_data_keys(check),
            f"run_dir={run}", f"precision={precision}", f"total_images={images}", *keys]


def _data_keys(check: Check) -> list[str]:
    size = min(check.sizes)
    return [f"data.path={check.shards[size]}", f"data.resolution={size}"]


def _train(check: Check, family: str, run: Path, precision: str, images: int, *keys: str) -> str:
    """What it printed. Raises RuntimeError where it did not end well."""
    return _call(_arguments(check, family, run, precision, images, keys))


def _train_until_killed(check: Check, family: str, run: Path, precision: str, images: int,
                        keys: Sequence[str]) -> int | None:
    """Kills a run once it has two checkpoints; how many images the newest had, or None where it ended first."""
    with subprocess.Popen(_command(_arguments(check, family, run, precision, images, keys)), env=_environment(),
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        until = time.monotonic() + _SECONDS
        while process.poll() is None and time.monotonic() < until:
            whole = sorted(path.parent.name for path in run.glob("checkpoints/*/COMPLETE"))
            if len(whole) >= 2:
                process.kill()
                return int(whole[-1])
            time.sleep(0.002)
        if process.poll() is None:
            process.kill()
            raise RuntimeError(f"{family} made no two checkpoints in {_SECONDS} s")
    return None


def _call(arguments: list[str]) -> str:
    """`scalegan ARGUMENTS`; its output. Raises RuntimeError with the end of it where it fails or takes too long."""
    with subprocess.Popen(_command(arguments), env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True) as process:
        try:
            said, _ = process.communicate(timeout=_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            said = process.communicate()[0] + f"\nkilled after {_SECONDS} s"
    if process.returncode:
        raise RuntimeError(f"exit code {process.returncode}\n{last_lines(said)}")
    return said


def _command(arguments: list[str]) -> list[str]:
    return [sys.executable, "-m", "scalegan", *arguments]


def _environment() -> dict[str, str]:
    """Few threads each, as several run at a time."""
    return {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "2")}


def _last_report(run: Path) -> str:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return lines[-1][:1500] if lines else ""


def _warnings(said: str) -> list[str]:
    return sorted({line.strip()[:300] for line in said.splitlines() if "Warning" in line or "warning" in line})[:8]


def _differing(one: dict, other: dict) -> list[str]:
    return [name for name in one if name not in other or not one[name].equal(other[name])][:12]
