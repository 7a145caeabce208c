"""Waiting for data: warns if it takes long, and gives up if a stop is requested and none arrives."""

import signal
import sys

from scalegan.errors import UserError
from scalegan.support import signals

_ENDS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)     # the other signals announce an end that is minutes away


class Stopped(UserError):
    """Stopped by signal `number` without saving, because the trainer and all ranks were waiting for data."""

    exit_code = 75

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = number


class DataWait:
    """Counts the seconds spent waiting for one batch; call `poll` after every `poll_seconds` without it."""

    poll_seconds, warn_every, give_up_after = 5, 60, 60

    def __init__(self) -> None:
        self.waited, self.stopping = 0, 0   # seconds in total, and since a stop was requested

    def poll(self) -> None:
        """Warns, or raises Stopped `give_up_after` s after a signal, which the trainer handles only between updates."""
        self.waited += self.poll_seconds
        if self.waited % self.warn_every == 0:
            print(f"scalegan: has been waiting for data for {self.waited} s; is the disk slow?", file=sys.stderr,
                  flush=True)
        if signals.asked not in _ENDS:
            return
        name = signal.Signals(signals.asked).name
        if not self.stopping:
            print(f"scalegan: received {name} while waiting for data; the run is saved once a batch arrives, or "
                  f"given up after {self.give_up_after} s", file=sys.stderr, flush=True)
        self.stopping += self.poll_seconds
        if self.stopping >= self.give_up_after:
            raise Stopped(f"received {name}, but no data for {self.waited} s; stopped without saving; run the same "
                          "command to resume from the last checkpoint", signals.asked)
