"""Output that may go away: a closed terminal, or `| head`, never ends work that is under way."""

import os
import sys
from typing import Any, TextIO


class Lasting:
    """A stream that writes to /dev/null once nobody can read it any more."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            self._give_up()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            self._give_up()

    def _give_up(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())     # what is still buffered goes there too
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def outlive_readers() -> None:
    """From here on the work goes on where stdout or stderr is gone."""
    sys.stdout, sys.stderr = (stream if isinstance(stream, Lasting) else Lasting(stream)
                              for stream in (sys.stdout, sys.stderr))
