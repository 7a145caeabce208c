"""Loader processes that do tasks ahead of time.

A pipe to each is all there is between them and the trainer. torch's DataLoader has queues, and threads that feed them
and wake for every task; it gives tasks out in turn, so that a core with other work holds all up; and it tells of a dead
worker by an exception from a signal handler, wherever the main thread is.
"""

import contextlib
import multiprocessing
import os
import time
from collections import deque
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from scalegan.data.patience import Patience
from scalegan.errors import UserError
from scalegan.signals import held_back, ignore_in_worker

_LAST_SECONDS = 5


class Workers:
    """Forked processes. Whoever has least to do gets the next task; results come in the order of the tasks.

    Args:
        work: does a task; what it raises ends the worker.
        count: how many; with 0 a task is done where its result is taken.
    """

    def __init__(self, work: Callable[[Any], Any], count: int) -> None:
        self.processes: dict[Connection, multiprocessing.Process] = {}
        self._work = work
        self._waiting: deque[Any] = deque()                 # tasks, where there are no processes
        self._doing: dict[Connection, deque[int]] = {}      # the numbers of tasks, oldest first
        self._done: dict[int, Any] = {}                     # by number
        self._given = self._taken = 0
        self._parent = os.getpid()
        try:
            for _ in range(count):
                self._fork()
        except BaseException:
            self.stop()
            raise

    def give(self, task: Any) -> None:
        if not self.processes:
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
        if not self.processes:
            return self._work(self._waiting.popleft())
        patience = Patience()
        while self._taken not in self._done:
            ready = wait([pipe for pipe, numbers in self._doing.items() if numbers], patience.look)
            for pipe in ready:
                self._done[self._doing[pipe][0]] = self._receive(pipe)
                self._doing[pipe].popleft()
            if not ready:
                patience.lose()
        self._taken += 1
        return self._done.pop(self._taken - 1)

    def stop(self) -> None:
        """Kills them: they ignore SIGTERM, by which multiprocessing would end them at exit, and then wait for ever."""
        if os.getpid() != self._parent:     # forked for a later stream, and collecting garbage that it inherited
            return
        for process in self.processes.values():
            process.kill()
        until = time.monotonic() + _LAST_SECONDS    # who reads from a disk that hangs does not even die
        for pipe, process in self.processes.items():
            process.join(max(0.0, until - time.monotonic()))
            pipe.close()

    def _receive(self, pipe: Connection) -> Any:
        try:
            return pipe.recv()
        except (EOFError, OSError):
            process = self.processes[pipe]
            process.join(Patience.look)
            reason = "its error stands above" if process.exitcode == 1 else "if memory ran out, lower data.workers"
            raise UserError(f"a loader worker died (exit code {process.exitcode}); {reason}; run again to go on "
                            "from the last checkpoint") from None

    def _fork(self) -> None:
        context = multiprocessing.get_context("fork")
        ours, theirs = context.Pipe()
        inherited = [*self.processes, ours]
        process = context.Process(target=_serve, args=(theirs, inherited, self._work), daemon=True)
        with held_back():
            process.start()
        theirs.close()
        self.processes[ours], self._doing[ours] = process, deque()


def _serve(pipe: Connection, inherited: list[Connection], work: Callable[[Any], Any]) -> None:
    ignore_in_worker()
    for other in inherited:     # so that only the trainer holds them: its death is the end of every pipe
        other.close()
    torch.set_num_threads(1)
    while True:
        try:
            task = pipe.recv()
        except (EOFError, OSError):
            return      # the trainer is gone
        result = work(task)
        with contextlib.suppress(OSError):
            pipe.send(result)
