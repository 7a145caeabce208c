"""Graceful stops: signals only set a flag, and all ranks act on it at the same step."""

import signal

import torch
import torch.distributed as dist

from scalegan.engines.ranks import Ranks
from scalegan.support import signals
from scalegan.support.signals import STOPPING


class StopRequest:
    """A stop requested by a signal on any rank. `agreed` gives the same answer on all ranks at the same step; `signal`
    is then the signal's number on all of them.

    The ranks' flags are reduced while the next iteration computes, which costs no time; a signal therefore takes effect
    one iteration later.
    """

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks
        self.signal: int | None = None
        signals.asked = 0
        self._pending: tuple[torch.Tensor, dist.Work] | None = None
        for number in STOPPING:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:     # nohup stays nohup
                signal.signal(number, self._record)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)  # a launcher may have blocked them until now

    def _record(self, number: int, frame: object) -> None:
        self.signal = max(number, self.signal or 0)  # SIGTERM, the end, outweighs SIGUSR2, the time limit
        signals.asked = self.signal

    def agreed(self) -> bool:
        """Whether to stop after this iteration."""
        if self.ranks.world_size == 1:
            return self.signal is not None
        stop = False
        if self._pending is not None:
            flag, work = self._pending
            work.wait()
            stop = bool(flag.item())
            if stop:
                self._record(int(flag.item()), None)
        flag = torch.tensor([self.signal or 0], dtype=torch.int32)
        self._pending = (flag, dist.all_reduce(flag, op=dist.ReduceOp.MAX, group=self.ranks.control, async_op=True))
        return stop

    def settle(self) -> None:
        """Waits for the reduction in flight, so that the group can be used or left."""
        if self._pending is not None:
            self._pending[1].wait()
            self._pending = None
