"""Loader processes that do tasks ahead of time.

A pipe to each is all there is between them and the trainer. torch's DataLoader has queues, and threads that feed them
and wake for every task; it gives tasks out in turn, so that a core with other work holds all up; and it tells of a dead
worker by an exception from a signal handler, wherever the main thread is.
"""

import contextlib
import os
from collections import deque
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import torch

from scalegan.data.reading.waiting import DataWait
from scalegan.errors import UserError
from scalegan.support import worker_pool
from scalegan.support.worker_pool import Worker, WorkerDied, received


class Workers:
    """Forked processes. Whoever has least to do gets the next task; results come in the order of the tasks.

    Args:
        work: does a task; what it raises ends the worker.
        count: how many; with 0 a task is done where its result is taken.
    """

    def __init__(self, work: Callable[[Any], Any], count: int) -> None:
        self._workers: dict[Connection, Worker] = {}
        self._work = work
        self._waiting: deque[Any] = deque()                 # tasks, where there are no processes
        self._doing: dict[Connection, deque[int]] = {}      # the numbers of tasks, oldest first
        self._done: dict[int, Any] = {}                     # by number
        self._given = self._taken = 0
        self._parent = os.getpid()
        try:
            for _ in range(count):
                worker = Worker(_serve, work, method="fork", others=list(self._workers.values()))
                self._workers[worker.pipe], self._doing[worker.pipe] = worker, deque()
        except BaseException:
            self.stop()
            raise

    @property
    def processes(self) -> list[BaseProcess]:
        return [worker.process for worker in self._workers.values()]

    def give(self, task: Any) -> None:
        if not self._workers:
            self._waiting.append(task)
            return
        pipe = min(self._doing, key=lambda pipe: len(self._doing[pipe]))
        self._doing[pipe].append(self._given)
        self._given += 1
        with contextlib.suppress(OSError):      # it died, which is told by `take`
            pipe.send(task)

    def take(self) -> Any:
        """The result of the oldest task; waits for it, and says so where that takes long.

        Raises:
            UserError: where a worker died, or an end was asked for while there was nothing to take.
        """
        if not self._workers:
            return self._work(self._waiting.popleft())
        waiting = DataWait()
        while self._taken not in self._done:
            ready = wait([pipe for pipe, numbers in self._doing.items() if numbers], waiting.poll_seconds)
            for pipe in ready:
                self._done[self._doing[pipe][0]] = self._receive(pipe)
                self._doing[pipe].popleft()
            if not ready:
                waiting.poll()
        self._taken += 1
        return self._done.pop(self._taken - 1)

    def stop(self) -> None:
        """Ends them; in a process forked for a later stream, which collects garbage that it inherited, does nothing."""
        if os.getpid() == self._parent:
            worker_pool.end(self._workers.values())

    def _receive(self, pipe: Connection) -> Any:
        try:
            return self._workers[pipe].receive()
        except WorkerDied as death:
            reason = "its error stands above" if death.exit_code == 1 else "if memory ran out, lower data.workers"
            raise UserError(f"a loader worker died ({death}); {reason}; run again to go on from the last "
                            "checkpoint") from None


def _serve(pipe: Connection, work: Callable[[Any], Any]) -> None:
    torch.set_num_threads(1)
    for task in received(pipe):
        result = work(task)
        with contextlib.suppress(OSError):
            pipe.send(result)
