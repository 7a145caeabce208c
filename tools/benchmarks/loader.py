"""Loaders against bare decoding and against their peers, and `prepare` against the bare work on its pictures."""

import itertools
import multiprocessing
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import simplejpeg

from scalegan.data.manifest import ImageFormat
from scalegan.data.preparing.shard_job import ShardJob
from scalegan.data.preparing.sources import open_source
from scalegan.errors import UserError
from scalegan.support import worker_pool
from scalegan.support.worker_pool import Worker
from tools.benchmarks import loaders, newer_loaders, photos
from tools.benchmarks.harness import ROUNDS, Result, alternate, faster
from tools.benchmarks.loaders import BATCH, WORKERS, Batches

_MANY_ROUNDS = 9            # where the machine's noise is close to the difference measured
_WARM_BATCHES = 16
_MEASURED_BATCHES = {256: 64, 64: 512}
_LIMIT_SECONDS = 2.0
_POLL_SECONDS = 0.1
Loader = Callable[[int], Batches]
Work = Callable[[int], object]


def webdataset_256_vs_decode() -> Result:
    """The WebDataset backend against bare libjpeg-turbo decoding from memory in as many processes, 256 px."""
    return _beside_decoding("webdataset_256_vs_decode", 256)


def webdataset_64_vs_decode() -> Result:
    """The same, 64 px."""
    return _beside_decoding("webdataset_64_vs_decode", 64)


def webdataset_vs_imagefolder() -> Result:
    return _beside("webdataset_vs_imagefolder", loaders.webdataset, loaders.image_folder, "ImageFolder, Pillow",
                   rounds=_MANY_ROUNDS)


def webdataset_vs_plain_webdataset() -> Result:
    return _beside("webdataset_vs_plain_webdataset", loaders.webdataset, loaders.plain_webdataset,
                   'webdataset, decode("pil")')


def webdataset_vs_litdata() -> Result | None:
    if _left_out("webdataset_vs_litdata", "litdata"):
        return None
    return _beside("webdataset_vs_litdata", loaders.webdataset, loaders.litdata, "litdata")


def webdataset_vs_streaming() -> Result | None:
    if _left_out("webdataset_vs_streaming", "streaming"):
        return None
    return _beside("webdataset_vs_streaming", loaders.webdataset, loaders.streaming, "mosaicml-streaming")


def webdataset_vs_spdl() -> Result | None:
    return _beside_newer("webdataset_vs_spdl", newer_loaders.spdl, "SPDL's pipeline, libjpeg-turbo", "spdl.pipeline")


def webdataset_vs_grain() -> Result | None:
    return _beside_newer("webdataset_vs_grain", newer_loaders.grain, "Grain, libjpeg-turbo", "grain", "array_record")


def webdataset_vs_datago() -> Result | None:
    return _beside_newer("webdataset_vs_datago", newer_loaders.datago, "datago", "datago")


def webdataset_vs_torchcodec() -> Result | None:
    return _beside_newer("webdataset_vs_torchcodec", newer_loaders.torchcodec, "torchcodec, DataLoader", "torchcodec")


def _beside_newer(name: str, peer: Loader, reference: str, *modules: str) -> Result | None:
    if any(_left_out(name, module) for module in modules):
        return None
    return _beside(name, loaders.webdataset, peer, reference)


def ffcv_vs_bare_ffcv() -> Result | None:
    """The FFCV backend against FFCV's own loader and decoder on the same file."""
    if not _ffcv_compiles("ffcv_vs_bare_ffcv"):
        return None
    return _beside("ffcv_vs_bare_ffcv", loaders.ffcv, loaders.bare_ffcv, "FFCV's own loader")


def ffcv_raw_vs_bare_ffcv() -> Result | None:
    """The same with raw pixels, 64 px."""
    if not _ffcv_compiles("ffcv_raw_vs_bare_ffcv"):
        return None
    return _beside("ffcv_raw_vs_bare_ffcv", partial(loaders.ffcv, encoding="raw"),
                   partial(loaders.bare_ffcv, encoding="raw"), "FFCV's own loader", 64)


def ffcv_vs_webdataset() -> Result | None:
    if not _ffcv_compiles("ffcv_vs_webdataset"):
        return None
    return _beside("ffcv_vs_webdataset", loaders.ffcv, loaders.webdataset, "the WebDataset backend")


def _left_out(name: str, module: str) -> bool:
    package, *_ = module.split(".")
    missing = find_spec(package) is None or find_spec(module) is None
    if missing:
        print(f"skipped {name}: {package} is not installed; run pip install -e '.[bench]'", file=sys.stderr)
    return missing


def _ffcv_compiles(name: str) -> bool:
    """Whether FFCV is installed; prints the time to its first batch, as compilation is not part of any round."""
    try:
        start = time.perf_counter()
        batches = loaders.ffcv(256)
        next(batches)
        batches.close()
        print(f"{name}: {time.perf_counter() - start:.1f} s to the first batch, including compilation", file=sys.stderr)
        return True
    except UserError as error:
        print(f"skipped {name}: {error}", file=sys.stderr)
        return False


def _beside(name: str, ours: Loader, peer: Loader, reference: str, size: int = 256, rounds: int = ROUNDS) -> Result:
    value, reference_value = alternate(lambda: _rate(ours, size), lambda: _rate(peer, size), rounds)
    return faster(name, _unit(size), value, reference, reference_value)


def _beside_decoding(name: str, size: int) -> Result:
    data = list(photos.stored(size))

    def decode_part(number: int) -> Callable[[int], object]:
        out, part = np.empty((size, size, 3), np.uint8), data[number::WORKERS]
        return lambda k: simplejpeg.decode_jpeg(part[k % len(part)], "RGB", buffer=out)

    value, limit = alternate(lambda: _rate(loaders.webdataset, size), lambda: _limit(decode_part), _MANY_ROUNDS)
    return faster(name, _unit(size), value, f"bare decoding, {WORKERS} processes", limit)


def _unit(size: int) -> str:
    return f"images/s of {size} px, {WORKERS} workers"


def _rate(loader: Loader, size: int) -> float:
    """Images per second once the pipeline is full; start-up and shutdown are not timed."""
    batches = loader(size)
    for _ in range(_WARM_BATCHES):
        next(batches)
    start = time.perf_counter()
    for samples in itertools.islice(batches, _MEASURED_BATCHES[size]):
        assert len(samples) == BATCH
    seconds = time.perf_counter() - start
    batches.close()
    return _MEASURED_BATCHES[size] * BATCH / seconds


def _limit(work_of: Callable[[int], Work]) -> float:
    """Calls per second of `work_of(process)(k)`, k = 0, 1, ..., over `WORKERS` processes that do nothing else."""
    ready = multiprocessing.get_context("fork").Barrier(WORKERS)
    workers = [Worker(_repeat, work_of, number, ready, method="fork") for number in range(WORKERS)]
    try:
        return sum(worker.receive() for worker in workers)
    finally:
        worker_pool.end(workers)


def _repeat(pipe: Connection, work_of: Callable[[int], Work], number: int, ready) -> None:
    work = work_of(number)
    work(0)
    ready.wait()
    start, count = time.perf_counter(), 0
    while (seconds := time.perf_counter() - start) < _LIMIT_SECONDS:
        work(count)
        count += 1
    pipe.send(count / seconds)


def prepare_lsun() -> Result:
    """`scalegan prepare` from an LMDB like LSUN's to 64 px, against the bare work on the same pictures (decode, crop,
    resize, encode) from memory in as many processes."""
    lmdb, records = photos.lsun(), iter(range(1000))
    source = open_source("lsun", [lmdb])
    pictures = [entry.read() for entry in source.entries()]
    job = ShardJob(source, ImageFormat(64, 3, "jpeg", 95), 0.0, photos.scratch(), False)
    usage = _Usage()

    def ours() -> float:
        arguments = [str(lmdb), str(photos.scratch() / f"prepared{next(records)}"), "--kind", "lsun",
                     "--workers", str(WORKERS)]
        start = time.perf_counter()
        usage.run([sys.executable, "-m", "scalegan", "prepare", *arguments])
        return len(pictures) / (time.perf_counter() - start)

    def encode_part(number: int) -> Work:
        part = pictures[number::WORKERS]
        return lambda k: job.encoded(part[k % len(part)])

    value, limit = alternate(ours, lambda: _limit(encode_part))
    print(f"prepare_lsun: {statistics.median(usage.cores):.2f} cores busy on average, peak memory of all processes "
          f"{usage.peak_bytes / 1e9:.2f} GB", file=sys.stderr)
    return faster("prepare_lsun", f"images/s to 64 px, {WORKERS} processes", value, "bare work on the pictures", limit)


class _Usage:
    """Runs a command and records its usage: average cores per run, and peak memory of all its processes together."""

    def __init__(self) -> None:
        self.cores: list[float] = []
        self.peak_bytes = 0

    def run(self, command: list[str]) -> None:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        watcher = threading.Thread(target=self._watch, args=(process.pid,))
        watcher.start()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        watcher.join()
        if process.returncode:
            raise UserError(f"{' '.join(command)} failed with exit code {process.returncode}")
        self.cores.append((used.ru_utime + used.ru_stime) / (time.perf_counter() - start))

    def _watch(self, pid: int) -> None:
        while (found := sum(map(_memory, [pid, *_children(pid)]))) > 0:
            self.peak_bytes = max(self.peak_bytes, found)
            time.sleep(_POLL_SECONDS)


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _memory(pid: int) -> int:
    """Proportional set size in bytes, which counts shared memory once; 0 when the process has exited."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024
    except (OSError, StopIteration):
        return 0


BENCHMARKS = {benchmark.__name__: benchmark for benchmark in (
    webdataset_256_vs_decode, webdataset_64_vs_decode, webdataset_vs_imagefolder, webdataset_vs_plain_webdataset,
    webdataset_vs_litdata, webdataset_vs_streaming, webdataset_vs_spdl, webdataset_vs_grain, webdataset_vs_datago,
    webdataset_vs_torchcodec, ffcv_vs_bare_ffcv, ffcv_raw_vs_bare_ffcv, ffcv_vs_webdataset,
    prepare_lsun)}
