"""Processes that stay alive between measurements, so that two groups can be measured alternately."""

import os
import socket
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from types import TracebackType

from scalegan.engines.ranks import Ranks
from scalegan.support import worker_pool
from scalegan.support.worker_pool import Worker, received

Measure = Callable[[], float]


class Workers:
    """Single-threaded processes that all measure at the same time.

    Args:
        count: number of processes.
        build: called in each as build(ranks, *arguments); returns measurements by name, each of which returns seconds.
        group: whether they are ranks of one process group, or independent.
    """

    def __init__(self, count: int, build: Callable[..., Mapping[str, Measure]], *arguments: object,
                 group: bool = True) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        ranks = [(number, count) if group else (0, 1) for number in range(count)]
        self.workers = [Worker(_work, rank, world, port, build, arguments) for rank, world in ranks]

    def measure(self, name: str) -> float:
        """Seconds taken by the slowest process."""
        for worker in self.workers:
            worker.pipe.send(name)
        return max(worker.receive() for worker in self.workers)

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        worker_pool.end(self.workers)


def _work(pipe: Connection, rank: int, world: int, port: int, build: Callable[..., Mapping[str, Measure]],
          arguments: tuple) -> None:
    if world > 1:
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world), LOCAL_WORLD_SIZE=str(world),
                          MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    from scalegan.engines.ranks import join

    os.environ.setdefault("OMP_NUM_THREADS", "1")
    ranks: Ranks = join(threads=1)
    measures = build(ranks, *arguments)
    for name in received(pipe):
        ranks.barrier()
        pipe.send(measures[name]())
