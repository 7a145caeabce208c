"""Worker processes that take one job at a time, and die with their parent."""

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple

from scalegan.errors import UserError
from scalegan.signals import die_with, held_back, ignore_in_worker

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
            process.join(_LAST_SECONDS)
            pipe.close()


def _start(work: Work) -> tuple[Connection, multiprocessing.Process]:
    """Spawned, not forked: the parent may have threads, and open maps that must not cross a fork."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, work, os.getpid()), daemon=True)
    resource_tracker.ensure_running()   # the first start would do it, and let signals through
    with held_back():
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
    ignore_in_worker()
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
