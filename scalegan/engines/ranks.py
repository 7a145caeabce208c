"""The processes that train together."""

import atexit
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from accelerate import PartialState

from scalegan.errors import SharedError, UserError
from scalegan.support import caching, devices
from scalegan.support.allocator import keep_freed_memory

T = TypeVar("T")

_ARRIVAL = timedelta(minutes=30)    # for all ranks to start
#: Timeout of every collective. torch's 10 minutes on GPUs would end a run whose data hangs on one rank, unsaved;
#: heartbeats (training/liveness.py) find dead ranks. It cannot be longer: torch passes it to poll() in milliseconds.
PATIENCE = timedelta(days=14)


@dataclass(frozen=True)
class Ranks:
    """This process and its peers; with one rank, no method communicates.

    `control` and `saver` are CPU groups, separate from the one for gradients: if they shared it, background checkpoints
    and training would wait for each other.
    """

    rank: int
    world_size: int
    device: torch.device
    control: dist.ProcessGroup | None = None
    saver: dist.ProcessGroup | None = None

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def broadcast(self, value: Any) -> Any:
        """Rank 0's value, on every rank."""
        if self.world_size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self.control)
        return box[0]

    def all_gather(self, value: Any) -> list[Any]:
        """Every rank's value, on every rank."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        dist.all_gather_object(values, value, group=self.control)
        return values

    def run_collectively(self, work: Callable[[], T]) -> T:
        """Returns `work()`, or raises on all ranks if it fails on one.

        Raises:
            SharedError: with the UserError of the first rank that failed.
        """
        result, error = None, None
        try:
            result = work()
        except UserError as found:
            error = found
        failures = [f for f in self.all_gather(error and (str(error), error.exit_code)) if f]
        if failures:
            raise SharedError(*failures[0]) from error
        return result

    def on_main(self, work: Callable[[], T]) -> T:
        """Returns rank 0's `work()` on every rank, or raises on all if it fails."""
        return self.broadcast(self.run_collectively(lambda: work() if self.is_main else None))

    def barrier(self) -> None:
        """Returns once every rank has called it."""
        if self.world_size > 1:
            dist.barrier(group=self.control)


def is_training_rank(lanes: int) -> bool:
    """Whether this process is among those that train: the largest number of ranks that divides `lanes`. Call it before
    `join`; the other processes should exit, and are not waited for."""
    world, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    used = max(n for n in range(1, world + 1) if lanes % n == 0)
    if used < world:
        if rank == 0:
            print(f"training on {used} of {world} ranks, the most that divide lanes={lanes}", flush=True)
        local = int(os.environ.get("LOCAL_WORLD_SIZE", world))
        first_here = rank - int(os.environ.get("LOCAL_RANK", rank))
        os.environ.update(WORLD_SIZE=str(used), LOCAL_WORLD_SIZE=str(max(1, min(local, used - first_here))))
    return rank < used


def join(threads: int = 0) -> Ranks:
    """Forms the group that the launcher's environment describes: NCCL on GPUs, gloo on CPUs.

    Raises:
        UserError: if processes would train separately.
    """
    tasks = int(os.environ.get("SLURM_STEP_NUM_TASKS", 1))      # SLURM_NTASKS is set in a batch script too
    if tasks > 1 and "WORLD_SIZE" not in os.environ:
        raise UserError(f"SLURM started {tasks} tasks that do not know each other; submit with `scalegan submit`, or "
                        "start each task through `accelerate launch` or torchrun")
    if devices.available().type == "mps" and int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise UserError("a Mac's GPU trains on one rank; start one process, or set ACCELERATE_USE_CPU=true")
    state = _joined()
    expected = int(os.environ.get("WORLD_SIZE", 1))
    if state.num_processes != expected:
        raise UserError(f"the launcher set WORLD_SIZE={expected}, but {state.num_processes} processes joined; start "
                        "all of them through `accelerate launch` or torchrun")
    if threads:
        torch.set_num_threads(threads)
    if state.device.type == "cpu":
        keep_freed_memory()
    if state.num_processes == 1:
        return Ranks(0, 1, state.device)
    return Ranks(state.process_index, state.num_processes, state.device,
                 group_of(backend="gloo"), group_of(backend="gloo"))


def _joined() -> PartialState:
    """The default group. Ranks that do not arrive are given up on; once all have, nothing times out."""
    cpu, store, place = devices.available().type == "cpu", None, {}
    if int(os.environ.get("WORLD_SIZE", 1)) > 1 and not dist.is_initialized() and all(
            name in os.environ for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")):
        store, rank, world = next(dist.rendezvous("env://", timeout=_ARRIVAL))
        place = {"store": store, "rank": rank, "world_size": world}
    state = PartialState(cpu=cpu, timeout=PATIENCE, **place)
    if store is not None:
        store.set_timeout(PATIENCE)     # NCCL connects in the first collective, for which a rank may be late
    return state


def group_of(members: Sequence[int] | None = None, backend: str | None = None) -> dist.ProcessGroup:
    """A new group of these ranks, or of all; every rank must call it."""
    return dist.new_group(members, timeout=PATIENCE, backend=backend)


def leave() -> None:
    """Ends the process group, if there is one, and removes temporary stand-ins for the cache (`end_with` skips exit
    handlers). Only for ranks that have all finished: it may wait for the others, and breaks their connections.
    After an error, a process just ends; see `end_with`."""
    caching.remove_stand_ins()
    if dist.is_initialized():
        dist.destroy_process_group()


def end_with(code: int) -> None:
    """Makes this process, if it is one of several, end at once with `code` when it exits.

    The threads of gloo's groups outlive them. If one still has to free a tensor while the interpreter shuts down, it
    is made to exit inside C++, which aborts the process: `terminate called without an active exception`.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        atexit.register(_end, code)     # handlers run last in, first out


def ending(work: Callable[[], int]) -> int:
    """Returns the exit code of `work`, and ends as `end_with` does, with the same code or that of the error raised."""
    try:
        code = work()
    except BaseException as error:
        end_with(128 + signal.SIGINT if isinstance(error, KeyboardInterrupt) else getattr(error, "exit_code", 1))
        raise
    end_with(code)
    return code


def _end(code: int) -> None:
    caching.remove_stand_ins()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
