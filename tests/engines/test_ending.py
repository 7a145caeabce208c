"""Ranks exit with the intended code, whatever native threads they leave behind."""

import os
import subprocess
import sys

import pytest
from harness import ROOT

SCRIPT = """
import atexit
from scalegan.engines.ranks import end_with
atexit.register(print, "torn down")
print("all is written", end="")     # to a pipe: buffered until the end
end_with(75)
"""


@pytest.mark.slow
@pytest.mark.parametrize("ranks, code, said", [("1", 0, "all is writtentorn down"), ("2", 75, "all is written")])
def test_one_of_several_processes_is_not_torn_down(ranks: str, code: int, said: str) -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], env={**os.environ, "WORLD_SIZE": ranks}, cwd=ROOT,
                          capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (code, said), done.stderr
