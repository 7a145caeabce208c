"""One start of a run on several ranks, which a kill may end.

A parent that acts as the launcher forks the ranks from a process that has already imported torch, so a start takes
about a second. Linux only.
"""

import json
import multiprocessing
import os
import signal
import socket
import sys
import time
from pathlib import Path

from tools.soaking.kills import Kill

TIMEOUT_SECONDS = 120.0


def sitting(arguments: list[str], ranks: int, log: Path, kill: Kill | None = None,
            timeout_seconds: float = TIMEOUT_SECONDS) -> list[int]:
    """Starts a run on `ranks` ranks, waits until all have exited, and returns their exit codes, negative for a signal.

    Raises:
        TimeoutError: if a rank has not exited in time; all are then killed.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["scalegan.training.launch", "torch._dynamo"])
    launcher = context.Process(target=_launcher, args=(arguments, ranks, str(log), kill))
    launcher.start()
    codes = log.with_suffix(".codes")
    group = launcher.pid
    until = time.monotonic() + timeout_seconds
    launcher.join(timeout_seconds)
    while _has_processes(group):
        if time.monotonic() > until:
            os.killpg(group, signal.SIGKILL)
            raise TimeoutError(f"a rank is still running {timeout_seconds:.0f} s after the start; see {log}")
        time.sleep(0.05)
    return json.loads(codes.read_text()) if launcher.exitcode == 0 else [launcher.exitcode or 1] * ranks


def _has_processes(group: int) -> bool:
    """Whether a process of that group is still running; zombies do not count."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, pgrp = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(pgrp) == group and state != "Z":
            return True
    return False


def _launcher(arguments: list[str], ranks: int, log: str, kill: Kill | None) -> None:
    """Forks the ranks into a new process group and waits for them. Like torchrun, it sends SIGTERM to the others when
    one fails; unlike torchrun, it never sends SIGKILL."""
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
