"""Processes that are kept waiting between measurements, so that two numbers of them can be measured in turn."""

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
    """Processes of one thread each; all measure at once.

    Args:
        count: how many.
        build: called on each as build(ranks, *arguments); returns its measurements by name, each giving seconds.
        group: whether they are ranks of one group, or each is alone.
    """

    def __init__(self, count: int, build: Callable[..., Mapping[str, Measure]], *arguments: object,
                 group: bool = True) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        places = [(number, count) if group else (0, 1) for number in range(count)]
        self.workers = [Worker(_work, rank, world, port, build, arguments) for rank, world in places]

    def measure(self, name: str) -> float:
        """Seconds that the slowest takes."""
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
        ranks.wait()
        pipe.send(measures[name]())
