"""Worker processes that talk to their parent through pipes and end with it."""

import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any, Literal, NamedTuple

from scalegan.errors import UserError
from scalegan.support.signals import die_with, ignore_in_worker, stop_signals_blocked

_EXIT_SECONDS = 5   # how long to wait for a worker's process to end
Report = Callable[[Any], None]
Work = Callable[[Any, Report], Any]


class WorkerDied(Exception):
    """A worker ended before it answered; `exit_code` is that of its process, None if the process still hangs."""

    def __init__(self, exit_code: int | None) -> None:
        super().__init__(f"exit code {exit_code}")
        self.exit_code = exit_code


class Worker:
    """A process at the other end of a pipe.

    Args:
        serve: what the process runs, as serve(pipe, *arguments); `received` iterates over the messages in the pipe.
        method: spawn; or fork, to share memory with the parent, which must then have no threads that hold locks.
        others: with fork, the workers that already exist, as only the parent may hold their pipes.
    """

    def __init__(self, serve: Callable[..., None], *arguments: Any, method: Literal["spawn", "fork"] = "spawn",
                 others: Sequence["Worker"] = ()) -> None:
        context = multiprocessing.get_context(method)
        self.pipe, worker_end = context.Pipe()
        if method == "spawn":
            resource_tracker.ensure_running()   # the first start would do so, and unblock the signals
            inherited, parent = [], os.getpid()
        else:
            inherited, parent = [self.pipe, *(other.pipe for other in others)], None
        self.process = context.Process(target=_begin, args=(worker_end, inherited, parent, serve, arguments),
                                       daemon=True)
        with stop_signals_blocked():
            self.process.start()
        worker_end.close()

    def receive(self) -> Any:
        """Waits for the worker's next message and returns it. Raises WorkerDied."""
        try:
            return self.pipe.recv()
        except (EOFError, OSError):
            self.process.join(_EXIT_SECONDS)
            raise WorkerDied(self.process.exitcode) from None


def end(workers: Iterable[Worker]) -> None:
    """Kills the workers: they ignore SIGTERM, with which multiprocessing would try to end them, and wait, at exit."""
    workers = list(workers)
    for worker in workers:
        worker.process.kill()
    until = time.monotonic() + _EXIT_SECONDS    # a process that reads from a hung disk does not even die of SIGKILL
    for worker in workers:
        worker.process.join(max(0.0, until - time.monotonic()))
        worker.pipe.close()


def _begin(pipe: Connection, inherited: list[Connection], parent: int | None, serve: Callable[..., None],
           arguments: tuple) -> None:
    ignore_in_worker()
    for other in inherited:     # so that the parent's death closes every pipe
        other.close()
    if parent is not None:
        die_with(parent)
    serve(pipe, *arguments)


def received(pipe: Connection) -> Iterator[Any]:
    """In a worker: yields the parent's messages until the parent is gone."""
    while True:
        try:
            message = pipe.recv()
        except (EOFError, OSError):
            return
        yield message


class Done(NamedTuple):
    """A finished job and its result."""

    job: Any
    result: Any


class News(NamedTuple):
    """A report from a job in progress."""

    what: Any


class _Failed(NamedTuple):
    error: Exception


def run(work: Work, jobs: Iterable[Any], workers: int, poll_seconds: float = 0.5) -> Iterator[Done | News | None]:
    """Runs `work(job, report)` for all `jobs` in `workers` processes; yields reports and results as they come, and None
    when nothing came for a while. There is no queue: a worker gets its next job once it has returned the last.

    Leaving the loop early kills the workers.

    Raises:
        UserError or OSError: an error that a job raised, or a worker died.
    """
    pending = iter(jobs)
    pool: dict[Connection, Worker] = {}
    busy: set[Connection] = set()

    def give(pipe: Connection) -> None:
        job = next(pending, None)
        if job is None:
            busy.discard(pipe)
        else:
            busy.add(pipe)
            pipe.send(job)

    try:
        for _ in range(workers):
            worker = Worker(_serve, work)   # spawned: the parent may have memory maps that must not cross a fork
            pool[worker.pipe] = worker
            give(worker.pipe)
        while busy:
            ready = wait(list(busy), poll_seconds)
            if not ready:
                yield None
            for pipe in ready:
                message = _message_from(pool[pipe])
                if isinstance(message, Done):
                    give(pipe)
                yield message
    finally:
        end(pool.values())


def _message_from(worker: Worker) -> Done | News:
    try:
        message = worker.receive()
    except WorkerDied as death:
        raise UserError(f"a worker process died ({death}); if memory ran out, lower --workers, then run the same "
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
