"""How processes treat signals to stop, and how they end with their parent. Imports nothing slow."""

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

asked = 0       # number of the stop signal that this process has caught, or 0
STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_PR_SET_PDEATHSIG = 1


@contextmanager
def stop_signals_blocked() -> Iterator[None]:
    """Blocks the signals in `STOPPING` while a worker starts: it inherits the block until `ignore_in_worker`."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore_in_worker() -> None:
    """Ignores stop signals: one sent to the process group must not kill the workers of a parent that is saving."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)


def die_with(parent: int) -> None:
    """Kills this process when `parent`, the id of the process that forked or spawned it, dies (Linux)."""
    _signal_at_death_of(parent, signal.SIGKILL)


def stop_with_launcher() -> None:
    """Asks Linux for SIGTERM when the launcher dies, so that no orphan keeps writing into a run folder.

    Only under `accelerate launch`, torchrun or Submitit: a trainer in a shell's background outlives the shell.
    """
    if any(name.startswith(("ACCELERATE_", "TORCHELASTIC_", "SUBMITIT_")) for name in os.environ):
        launcher = os.getppid()
        _signal_at_death_of(launcher, signal.SIGTERM)
        if sys.platform == "linux" and launcher == 1 and _process_1_adopts_orphans():
            os.kill(os.getpid(), signal.SIGTERM)


def _signal_at_death_of(parent: int, number: signal.Signals) -> None:
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:  # it died before prctl took effect
        os.kill(os.getpid(), number)


def _process_1_adopts_orphans() -> bool:
    """False if process 1 is the launcher itself, as in a container, where it is the command; ours runs on Python."""
    try:
        return not Path("/proc/1/exe").readlink().name.startswith("python")
    except OSError:     # owned by another user
        return True
