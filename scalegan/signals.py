"""Stopping politely: signals only set a flag, and all ranks act on it at the same step."""

import ctypes
import os
import signal
import sys

import torch
import torch.distributed as dist

from scalegan.engines.ranks import Ranks

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
_PR_SET_PDEATHSIG = 1


class StopRequest:
    """Set by a signal on any rank; `agreed` answers the same on every rank, at the same step. `signal` is then the
    signal's number on all of them.

    The question travels while the next iteration computes, so that asking costs a quiet step nothing: a signal is
    acted upon one iteration later.
    """

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks
        self.signal: int | None = None
        self._asked: tuple[torch.Tensor, dist.Work] | None = None
        for number in STOPPING:
            signal.signal(number, self._note)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)  # a launcher may have held them back until now

    def _note(self, number: int, frame: object) -> None:
        self.signal = max(number, self.signal or 0)  # SIGTERM, which is the end, outweighs SIGUSR2, the time limit

    def agreed(self) -> bool:
        """Whether to stop after this iteration."""
        if self.ranks.world == 1:
            return self.signal is not None
        stop = False
        if self._asked is not None:
            flag, work = self._asked
            work.wait()
            stop = bool(flag.item())
            if stop:
                self._note(int(flag.item()), None)
        flag = torch.tensor([self.signal or 0], dtype=torch.int32)
        self._asked = (flag, dist.all_reduce(flag, op=dist.ReduceOp.MAX, group=self.ranks.control, async_op=True))
        return stop

    def settle(self) -> None:
        """Waits for the question under way, so that the group can be used or left."""
        if self._asked is not None:
            self._asked[1].wait()
            self._asked = None


def stop_with_launcher() -> None:
    """Asks Linux for SIGTERM when the launcher dies: no orphan goes on writing into a run folder.

    Only under `accelerate launch`, torchrun or Submitit: a trainer that a shell put into the background outlives the
    shell.
    """
    launched = any(name.startswith(("ACCELERATE_", "TORCHELASTIC_", "SUBMITIT_")) for name in os.environ)
    if not launched or sys.platform != "linux":
        return
    launcher = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != launcher or launcher == 1:  # it died before the request was in force
        os.kill(os.getpid(), signal.SIGTERM)


def ignore_in_worker() -> None:
    """For loader workers: a signal to the whole process group must not take them away from a trainer that saves."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
