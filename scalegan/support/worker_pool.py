"""Worker processes with a pipe to each, which end with their parent."""

import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any, Literal, NamedTuple

from scalegan.errors import UserError
from scalegan.support.signals import die_with, held_back, ignore_in_worker

_LAST_SECONDS = 5   # from the end of a worker's pipe to that of its process, or it is killed
Report = Callable[[Any], None]
Work = Callable[[Any, Report], Any]


class WorkerDied(Exception):
    """A worker ended before it answered; `exit_code` is its process's, None where it still hangs."""

    def __init__(self, exit_code: int | None) -> None:
        super().__init__(f"exit code {exit_code}")
        self.exit_code = exit_code


class Worker:
    """A process at the other end of a pipe.

    Args:
        serve: what it does, called there as serve(pipe, *arguments); `received` gives what comes through the pipe.
        method: spawn; or fork, for who shares memory with the parent, which must then have no threads that hold locks.
        others: of forked ones, those that are there already: only the parent may hold their pipes.
    """

    def __init__(self, serve: Callable[..., None], *arguments: Any, method: Literal["spawn", "fork"] = "spawn",
                 others: Sequence["Worker"] = ()) -> None:
        context = multiprocessing.get_context(method)
        self.pipe, theirs = context.Pipe()
        if method == "spawn":
            resource_tracker.ensure_running()   # the first start would do it, and let signals through
            inherited, parent = [], os.getpid()
        else:
            inherited, parent = [self.pipe, *(other.pipe for other in others)], None
        self.process = context.Process(target=_begin, args=(theirs, inherited, parent, serve, arguments), daemon=True)
        with held_back():
            self.process.start()
        theirs.close()

    def receive(self) -> Any:
        """What it sends next; waits for it. Raises WorkerDied."""
        try:
            return self.pipe.recv()
        except (EOFError, OSError):
            self.process.join(_LAST_SECONDS)
            raise WorkerDied(self.process.exitcode) from None


def end(workers: Iterable[Worker]) -> None:
    """Kills them: they ignore SIGTERM, by which multiprocessing would end them at exit, and then wait for ever."""
    workers = list(workers)
    for worker in workers:
        worker.process.kill()
    until = time.monotonic() + _LAST_SECONDS    # who reads from a disk that hangs does not even die
    for worker in workers:
        worker.process.join(max(0.0, until - time.monotonic()))
        worker.pipe.close()


def _begin(pipe: Connection, inherited: list[Connection], parent: int | None, serve: Callable[..., None],
           arguments: tuple) -> None:
    ignore_in_worker()
    for other in inherited:     # so that the parent's death is the end of every pipe
        other.close()
    if parent is not None:
        die_with(parent)
    serve(pipe, *arguments)


def received(pipe: Connection) -> Iterator[Any]:
    """In a worker: all that its parent sends, until that is gone."""
    while True:
        try:
            message = pipe.recv()
        except (EOFError, OSError):
            return
        yield message


class Done(NamedTuple):
    """A job that is finished, and what it gave."""

    job: Any
    result: Any


class News(NamedTuple):
    """What a job under way reports."""

    what: Any


class _Failed(NamedTuple):
    error: Exception


def run(work: Work, jobs: Iterable[Any], workers: int, poll_seconds: float = 0.5) -> Iterator[Done | News | None]:
    """Does `jobs` by `work(job, report)` in `workers` processes; yields reports and results as they come, and None
    when nothing came for a while. Nothing queues: a worker is given its next job when it has handed in the last.

    Leaving the loop early kills the workers.

    Raises:
        UserError or OSError: what a job raised, or where a worker died.
    """
    waiting = iter(jobs)
    pool: dict[Connection, Worker] = {}
    doing: set[Connection] = set()

    def give(pipe: Connection) -> None:
        job = next(waiting, None)
        if job is None:
            doing.discard(pipe)
        else:
            doing.add(pipe)
            pipe.send(job)

    try:
        for _ in range(workers):
            worker = Worker(_serve, work)   # spawned: the parent may have open maps that must not cross a fork
            pool[worker.pipe] = worker
            give(worker.pipe)
        while doing:
            ready = wait(list(doing), poll_seconds)
            if not ready:
                yield None
            for pipe in ready:
                message = _received(pool[pipe])
                if isinstance(message, Done):
                    give(pipe)
                yield message
    finally:
        end(pool.values())


def _received(worker: Worker) -> Done | News:
    try:
        message = worker.receive()
    except WorkerDied as death:
        raise UserError(f"a worker process died ({death}); if memory ran out, lower --workers; then run the same "
                        "command again") from None
    if isinstance(message, _Failed):
        raise message.error
    return message


def _serve(pipe: Connection, work: Work) -> None:
    for job in received(pipe):
        try:
            result = Done(job, work(job, lambda what: pipe.send(News(what))))
        except (UserError, OSError) as error:
            result = _Failed(error)
        pipe.send(result)
