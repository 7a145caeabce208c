"""Who heeds the signals that ask for an end, and who ends with its parent. Imports nothing that takes long."""

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

asked = 0       # the number of the signal that asked this process for an end and that it has caught, or 0
STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_PR_SET_PDEATHSIG = 1


@contextmanager
def held_back() -> Iterator[None]:
    """Around the start of a worker, which inherits it: no signal of `STOPPING` reaches it before `ignore_in_worker`."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore_in_worker() -> None:
    """A signal to the whole process group must not take workers away from a parent that saves."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)


def die_with(parent: int) -> None:
    """No orphan goes on when the process that called fork or spawn, number `parent`, is killed (Linux)."""
    _at_death_of(parent, signal.SIGKILL)


def stop_with_launcher() -> None:
    """Asks Linux for SIGTERM when the launcher dies: no orphan goes on writing into a run folder.

    Only under `accelerate launch`, torchrun or Submitit: a trainer that a shell put into the background outlives the
    shell.
    """
    if any(name.startswith(("ACCELERATE_", "TORCHELASTIC_", "SUBMITIT_")) for name in os.environ):
        launcher = os.getppid()
        _at_death_of(launcher, signal.SIGTERM)
        if sys.platform == "linux" and launcher == 1 and _orphans_go_to_1():
            os.kill(os.getpid(), signal.SIGTERM)


def _at_death_of(parent: int, number: signal.Signals) -> None:
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:  # it died before the request was in force
        os.kill(os.getpid(), number)


def _orphans_go_to_1() -> bool:
    """Unless process 1 is itself the parent: in a container it is the command, and ours runs on Python."""
    try:
        return not Path("/proc/1/exe").readlink().name.startswith("python")
    except OSError:     # another user's
        return True
