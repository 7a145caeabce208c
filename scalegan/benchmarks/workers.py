"""Processes that are kept waiting between measurements, so that two numbers of them can be measured in turn."""

import multiprocessing
import os
import socket
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from types import TracebackType

from scalegan.engines.ranks import Ranks

Measure = Callable[[], float]


class Workers:
    """Processes of one thread each; all measure at once.

    Args:
        count: how many.
        build: called on each as build(ranks, *arguments); returns its measurements by name, each giving seconds.
        group: whether they are ranks of one group, or each is alone.
    """

    def __init__(self, count: int, build: Callable[..., Mapping[str, Measure]], *arguments: object,
                 group: bool = True) -> None:
        context = multiprocessing.get_context("spawn")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.pipes, self.processes = [], []
        for number in range(count):
            mine, theirs = context.Pipe()
            rank, world = (number, count) if group else (0, 1)
            process = context.Process(target=_work, args=(theirs, rank, world, port, build, arguments), daemon=True)
            process.start()
            theirs.close()
            self.pipes.append(mine)
            self.processes.append(process)

    def measure(self, name: str) -> float:
        """Seconds that the slowest takes."""
        for pipe in self.pipes:
            pipe.send(name)
        return max(pipe.recv() for pipe in self.pipes)

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for pipe in self.pipes:
            pipe.close()
        for process in self.processes:
            process.join(10)
            process.kill()


def _work(pipe: Connection, rank: int, world: int, port: int, build: Callable[..., Mapping[str, Measure]],
          arguments: tuple) -> None:
    if world > 1:
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world), LOCAL_WORLD_SIZE=str(world),
                          MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    from scalegan.engines.ranks import join, leave

    os.environ.setdefault("OMP_NUM_THREADS", "1")
    ranks: Ranks = join(threads=1)
    measures = build(ranks, *arguments)
    try:
        while True:
            name = pipe.recv()
            ranks.wait()
            pipe.send(measures[name]())
    except EOFError:
        leave()
