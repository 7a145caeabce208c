"""Worker processes that take one job at a time, and die with their parent."""

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple

from scalegan.errors import UserError

_PR_SET_PDEATHSIG = 1
_LAST_SECONDS = 5   # from the end of a worker's pipe to that of its process, or it is killed
Report = Callable[[Any], None]
Work = Callable[[Any, Report], Any]


class Done(NamedTuple):
    """A job that is finished, and what it gave."""

    job: Any
    result: Any


class News(NamedTuple):
    """What a job under way reports."""

    what: Any


class _Failed(NamedTuple):
    error: Exception


def run(work: Work, jobs: Iterable[Any], workers: int, patience_seconds: float = 0.5) -> Iterator[Done | News | None]:
    """Does `jobs` by `work(job, report)` in `workers` processes; yields reports and results as they come, and None
    when nothing came for a while. Nothing queues: a worker is given its next job when it has handed in the last.

    Leaving the loop early kills the workers.

    Raises:
        UserError or OSError: what a job raised, or where a worker died.
    """
    waiting = iter(jobs)
    crew: dict[Connection, multiprocessing.Process] = {}
    doing: dict[Connection, Any] = {}

    def give(pipe: Connection) -> None:
        job = next(waiting, None)
        if job is None:
            doing.pop(pipe, None)
        else:
            doing[pipe] = job
            pipe.send(job)

    try:
        for _ in range(workers):
            pipe, process = _start(work)
            crew[pipe] = process
            give(pipe)
        while doing:
            ready = wait(list(doing), patience_seconds)
            if not ready:
                yield None
            for pipe in ready:
                message = _receive(pipe, crew[pipe])
                if isinstance(message, Done):
                    give(pipe)
                yield message
    finally:
        for pipe, process in crew.items():
            process.kill()
            process.join()
            pipe.close()


def _start(work: Work) -> tuple[Connection, multiprocessing.Process]:
    """Spawned, not forked: the parent may have threads, and open maps that must not cross a fork."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, work, os.getpid()), daemon=True)
    process.start()
    theirs.close()
    return ours, process


def _receive(pipe: Connection, process: multiprocessing.Process) -> Done | News:
    try:
        message = pipe.recv()
    except (EOFError, ConnectionResetError):
        process.join(_LAST_SECONDS)
        raise UserError(f"a worker process died (exit code {process.exitcode}); if memory ran out, lower --workers; "
                        "then run the same command again") from None
    if isinstance(message, _Failed):
        raise message.error
    return message


def _serve(pipe: Connection, work: Work, parent: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)       # they go to the whole group; the parent decides
    die_with(parent)
    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        try:
            result = Done(job, work(job, lambda what: pipe.send(News(what))))
        except (UserError, OSError) as error:
            result = _Failed(error)
        pipe.send(result)


def die_with(parent: int) -> None:
    """No orphan goes on when the process that called fork or spawn, number `parent`, is killed (Linux)."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the request was in force
        os.kill(os.getpid(), signal.SIGKILL)
