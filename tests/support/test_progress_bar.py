"""A progress bar on a terminal leaves alone what goes elsewhere."""

import io
import sys

import pytest

from scalegan.support.progress import Bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_what_is_printed_to_a_pipe_beside_a_bar_reaches_the_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, pipe = Terminal(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(sys, "stdout", pipe)
    with Bar("photos", 2, unit="photos") as bar:
        print("a line")
        bar.advance(1)
    assert pipe.getvalue() == "a line\n" and "photos" in terminal.getvalue()
