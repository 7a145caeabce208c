"""Loader processes that run tasks ahead of the trainer.

A single pipe connects each of them to the trainer. torch's DataLoader has queues, and threads that feed them and wake
for every task; it hands out tasks round-robin, so one busy core holds up all the others; and it reports a dead worker
by raising from a signal handler, wherever the main thread happens to be.
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
    """Forked processes. The least busy one gets each new task; results come in task order.

    Args:
        work: runs a task; an exception ends the worker.
        count: number of processes; with 0, a task runs in the caller when its result is taken.
    """

    def __init__(self, work: Callable[[Any], Any], count: int) -> None:
        self._workers: dict[Connection, Worker] = {}
        self._work = work
        self._waiting: deque[Any] = deque()                 # tasks, if there are no processes
        self._doing: dict[Connection, deque[int]] = {}      # task numbers, oldest first
        self._done: dict[int, Any] = {}                     # results by task number
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
        with contextlib.suppress(OSError):      # the worker died; `take` reports it
            pipe.send(task)

    def take(self) -> Any:
        """The result of the oldest task; waits for it, with a warning if that takes long.

        Raises:
            UserError: if a worker died, or a stop was requested while no result arrived.
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
        """Ends the workers. Does nothing in a forked process, where an inherited instance may be garbage-collected."""
        if os.getpid() == self._parent:
            worker_pool.end(self._workers.values())

    def _receive(self, pipe: Connection) -> Any:
        try:
            return self._workers[pipe].receive()
        except WorkerDied as death:
            reason = "see its traceback above" if death.exit_code == 1 else "if memory ran out, lower data.workers"
            raise UserError(f"a loader worker died ({death}); {reason}; run the same command to resume from "
                            "the last checkpoint") from None


def _serve(pipe: Connection, work: Callable[[Any], Any]) -> None:
    torch.set_num_threads(1)
    for task in received(pipe):
        result = work(task)
        with contextlib.suppress(OSError):
            pipe.send(result)
