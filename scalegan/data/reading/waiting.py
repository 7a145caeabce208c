"""Waiting for data: said when it takes long, and given up when an end is asked for and none comes."""

import signal
import sys

from scalegan.errors import UserError
from scalegan.support import signals

_ENDS = (signal.SIGTERM, signal.SIGINT)     # the others announce an end that is minutes away


class Stopped(UserError):
    """Asked to stop, by signal `number`, where nothing can be saved: the trainer waits, and with it all ranks."""

    exit_code = 75

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = number


class Patience:
    """Of who waits for one batch, and tells of every `look` seconds without."""

    look, say, give_up = 5, 60, 60

    def __init__(self) -> None:
        self.waited, self.asked = 0, 0      # seconds; of these since the end was asked for

    def lose(self) -> None:
        """Raises Stopped some time after a signal that the trainer, who heeds it between updates, does not come to."""
        self.waited += self.look
        if self.waited % self.say == 0:
            print(f"scalegan: waiting for data since {self.waited} s; is the disk slow?", file=sys.stderr, flush=True)
        if signals.asked not in _ENDS:
            return
        name = signal.Signals(signals.asked).name
        if not self.asked:
            print(f"scalegan: {name} while waiting for data; it is saved when some comes, and given up in "
                  f"{self.give_up} s", file=sys.stderr, flush=True)
        self.asked += self.look
        if self.asked >= self.give_up:
            raise Stopped(f"{name}, and no data since {self.waited} s: stopped without saving; the same command goes "
                          "on from the last checkpoint", signals.asked)
