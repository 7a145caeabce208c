"""Runs a function in a forked process that can do no harm, and says how it ended.

The process has a time, a bound of memory and of files' sizes, and a hook that notes what it opens for writing outside
its folder. Imports are shared with the parent, which must have no threads.
"""

import faulthandler
import io
import os
import resource
import select
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SECONDS = 20
PEAK_BYTES = 2 << 30
_DATA_BYTES = 6 << 30       # protects the machine; what is over PEAK_BYTES is a fault already
_FILE_BYTES = 4 << 30
_HARMLESS = ("/dev/", "/proc/self/")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# Audit events of functions that change files, and which of their arguments are paths.
_CHANGING = {"os.mkdir": (0,), "os.remove": (0,), "os.rename": (0, 1), "os.rmdir": (0,), "os.truncate": (0,),
             "os.symlink": (1,), "os.link": (1,), "os.chmod": (0,), "shutil.rmtree": (0,)}


@dataclass(frozen=True)
class Ending:
    """How a process ended: its exit code, negative for a signal; what it printed; its peak of memory in bytes, beyond
    what it had of its parent."""

    code: int
    output: str
    peak: int
    seconds: float
    outside: list[str]


def run(folder: Path, function: Callable[[], int]) -> Ending:
    """Calls `function` in `folder`, in a process of its own. Its output goes to `<folder>.out`."""
    output, notes = folder.with_name(f"{folder.name}.out"), folder.with_name(f"{folder.name}.outside")
    begin, (inherited, _) = time.monotonic(), _memory()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _child(folder, output, notes, function)
    code, peak = _waited(pid, begin + SECONDS)
    outside = sorted(set(notes.read_text(errors="replace").splitlines())) if notes.exists() else []
    return Ending(code, output.read_text(errors="replace"), peak - inherited, time.monotonic() - begin, outside)


def _memory() -> tuple[int, int]:
    """Bytes of this process: resident and not of files, which a fork begins with; and mapped for data."""
    _, resident, of_files, _, _, data, _ = map(int, Path("/proc/self/statm").read_text().split())
    return (resident - of_files) * resource.getpagesize(), data * resource.getpagesize()


def _waited(pid: int, until: float) -> tuple[int, int]:
    """The exit code and peak of memory of a child, which is killed, with its own children, when time is up."""
    handle = os.pidfd_open(pid)
    ended, _, _ = select.select([handle], [], [], max(0.0, until - time.monotonic()))
    os.close(handle)
    _kill(pid)      # those that it has started, too
    _, status, usage = os.wait4(pid, 0)
    code = os.waitstatus_to_exitcode(status) if ended else -signal.SIGALRM
    return code, usage.ru_maxrss << 10


def _kill(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


def _child(folder: Path, output: Path, notes: Path, function: Callable[[], int]) -> None:
    code = 70
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 1)
        os.dup2(1, 2)
        sys.stdout, sys.stderr = (
            io.TextIOWrapper(io.FileIO(number, "w", closefd=False), errors="backslashreplace", line_buffering=True,
                             write_through=True) for number in (1, 2))
        faulthandler.enable()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_DATA, (_memory()[1] + _DATA_BYTES,) * 2)
        resource.setrlimit(resource.RLIMIT_FSIZE, (_FILE_BYTES, _FILE_BYTES))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        home = folder / "home"
        home.mkdir(exist_ok=True)
        os.environ |= {"HOME": str(home), "TMPDIR": str(home), "SCALEGAN_CACHE": str(folder / "cache")}
        os.chdir(folder)
        sys.dont_write_bytecode = True
        sys.addaudithook(_watcher(str(folder.resolve()), notes))
        code = function()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
        code = 70
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _watcher(folder: str, notes: Path) -> Callable[[str, tuple], None]:
    """An audit hook that notes changes outside `folder`."""
    descriptor = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    inside = folder + os.sep

    def place(path: Any, of: Any = None) -> str:
        text = os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else ""
        if isinstance(of, int) and of >= 0 and not os.path.isabs(text):
            text = os.path.join(os.readlink(f"/proc/self/fd/{of}"), text)
        return text

    def watch(event: str, arguments: tuple) -> None:
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, int) or not (flags or 0) & _WRITING:
                return
            found = os.path.realpath(place(path))
        elif event in _CHANGING:
            of = arguments[-1] if event in ("os.remove", "os.rmdir", "os.mkdir") else None
            paths = [place(arguments[number], of) for number in _CHANGING[event]]
            real = (os.path.join(os.path.realpath(os.path.dirname(path) or "."), os.path.basename(path))
                    for path in paths)      # the name itself is changed, not what it may link to
            found = next((path for path in real if not (path + os.sep).startswith(inside)), folder)
        else:
            return
        harmless = found.startswith(_HARMLESS) or "__pycache__" in found        # of numba's compiled code
        if not (found + os.sep).startswith(inside) and not harmless:
            os.write(descriptor, f"{event} {found}\n".encode(errors="replace"))

    return watch


def cleared(folder: Path) -> Path:
    """An empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
