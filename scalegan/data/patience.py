"""Waiting for data: said when it takes long, and given up when an end is asked for meanwhile."""

import signal
import sys

from scalegan import signals
from scalegan.errors import UserError


class Stopped(UserError):
    """Asked to stop where nothing can be saved, as all ranks wait."""

    exit_code = 75


class Patience:
    """Of who waits for one batch, and tells of every `look` seconds without."""

    look, say, give_up = 5, 60, 15

    def __init__(self) -> None:
        self.waited = 0

    def lose(self) -> None:
        """Raises Stopped some time after a signal: the trainer, which heeds it between updates, does not come to it."""
        self.waited += self.look
        if signals.asked and self.waited >= self.give_up:
            raise Stopped(f"{signal.Signals(signals.asked).name}, and no data since {self.waited} s: stopped; the same "
                          "command goes on from the last checkpoint")
        if self.waited % self.say == 0:
            print(f"scalegan: waiting for data since {self.waited} s; is the disk slow?", file=sys.stderr, flush=True)
