"""Two runs never share a folder, on one host or on two, whatever locks the file system supports."""

import subprocess
import sys
from pathlib import Path

import pytest
from harness import ROOT

# Holds the folder until its stdin ends, as a process on the named host, on a file system whose locks hold on all hosts,
# on each host separately, or not at all.
HOLDER = """
import errno, fcntl, os, socket, sys
from pathlib import Path
folder, host, locks, leaves = sys.argv[1:]
socket.gethostname = lambda: host
def none(*_):
    raise OSError(errno.ENOLCK, "No locks available")
if locks != "locks":
    fcntl.lockf = none if locks == "no locks" else lambda *_: None
from scalegan.training import run_lock
from scalegan.errors import UserError
run_lock._RENEWAL_SECONDS, run_lock._LEASE_SECONDS, run_lock._PATIENCE_SECONDS = 0.2, 1.5, 0.5
try:
    lock = run_lock.RunLock(Path(folder))
except UserError as error:
    print(error, flush=True)
    sys.exit(1)
print("mine", flush=True)
sys.stdin.read()
if leaves == "orderly":
    lock.release()
os._exit(0)
"""


class Holder:
    """A process that locks a folder; `says` is its answer."""

    def __init__(self, folder: Path, host: str, locks: str, leaves: str = "killed") -> None:
        self.process = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder), host, locks, leaves], cwd=ROOT,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.says = self.process.stdout.readline().strip()

    def leave(self) -> None:
        self.process.communicate(timeout=60)


@pytest.mark.slow
@pytest.mark.parametrize("hosts, locks", [(("a", "a"), "locks"), (("a", "b"), "locks"), (("a", "b"), "local locks"),
                                          (("a", "a"), "no locks"), (("a", "b"), "no locks")])
def test_the_second_is_refused_and_the_next_takes_over(hosts: tuple[str, str], locks: str, tmp_path: Path) -> None:
    first = Holder(tmp_path, hosts[0], locks)
    assert first.says == "mine"
    second = Holder(tmp_path, hosts[1], locks)
    assert f"in use by process {first.process.pid} on {hosts[0]}; stop it first" in second.says
    first.leave()  # as if killed: the lease stays, but is no longer renewed
    second.leave()
    third = Holder(tmp_path, hosts[1], locks, "orderly")
    assert third.says == "mine"
    third.leave()
    assert not (tmp_path / ".lease").exists()
