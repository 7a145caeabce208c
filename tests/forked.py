"""Processes forked from a server that has already imported torch, so that they start at once."""

import contextlib
import multiprocessing
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_SECONDS = 300.0  # several times what a loaded machine needs


def server() -> multiprocessing.context.ForkServerContext:
    """Whose processes are such forks."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["scalegan.training.launch", "torch._dynamo"])
    return context


def free_port() -> int:
    """A port of this machine on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def place(rank: int, world: int, port: int) -> dict[str, str]:
    """What a launcher tells a rank."""
    return {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world),
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}


class Started:
    """A process that runs a script, forked from the server; used like `subprocess.Popen`. On several ranks it is their
    launcher, which has one child for each, and ends the others when one fails.

    Attributes:
        pid: of the process.
    """

    def __init__(self, arguments: list[str], ranks: int, environment: dict[str, str], cwd: Path | None = None) -> None:
        context = server()
        pipes = [context.Pipe(duplex=False) for _ in range(2)]
        senders = [sender for _, sender in pipes]
        self._process = context.Process(target=_run_script, args=(senders, arguments, ranks, environment,
                                                                    cwd or Path.cwd()))
        self._process.start()
        self.pid, self._arguments = self._process.pid, arguments
        self._readers = [_Reader(receiver) for receiver, _ in pipes]
        for sender in senders:
            sender.close()

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float = PATIENCE_SECONDS) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(self._arguments, timeout)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()

    def communicate(self, timeout: float = PATIENCE_SECONDS) -> tuple[str, str]:
        """Waits for the end; what the processes said on either stream."""
        self.wait(timeout)
        return tuple(reader.text(timeout) for reader in self._readers)


class _Reader(threading.Thread):
    """Takes what comes through a pipe, so that no writer waits."""

    def __init__(self, pipe: Connection) -> None:
        super().__init__(daemon=True)
        self.pipe, self.pieces = pipe, []
        self.start()

    def run(self) -> None:
        while piece := os.read(self.pipe.fileno(), 1 << 16):
            self.pieces.append(piece)

    def text(self, timeout: float) -> str:
        self.join(timeout)
        return b"".join(self.pieces).decode()


def _run_script(outputs: Sequence[Connection], arguments: list[str], ranks: int, environment: dict[str, str],
                cwd: Path) -> None:
    """Runs a script as a new process would; in children of this one, if there are several ranks."""
    os.setsid()
    for stream, name, output in zip((1, 2), ("stdout", "stderr"), outputs):
        os.dup2(output.fileno(), stream)
        output.close()
        setattr(sys, name, os.fdopen(stream, "w", buffering=1, closefd=False))
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.argv = arguments
    sys.path[:] = [str(Path(arguments[0]).parent), *(path for path in sys.path if Path(path) != ROOT and
                                                     not Path(path).is_relative_to(ROOT / "tests"))]
    if ranks == 1:
        runpy.run_path(arguments[0], run_name="__main__")
        return
    port, pids = free_port(), []
    for rank in range(ranks):
        pids.append(os.fork())
        if pids[-1] == 0:
            os.environ.update(place(rank, ranks, port))
            runpy.run_path(arguments[0], run_name="__main__")
            return
    codes = []
    for _ in pids:
        codes.append(os.waitstatus_to_exitcode(os.wait()[1]))
        if codes[-1]:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
    sys.exit(any(codes))
