"""Keeps a folder to one run at a time: a POSIX lock, and a lease where hosts do not share locks."""

import errno
import fcntl
import os
import socket
import threading
import time
from pathlib import Path

from scalegan.errors import UserError
from scalegan.support.caching import reason
from scalegan.support.files import open_own

_PATIENCE_SECONDS = 10.0  # a killed predecessor may take a while to exit
_RENEWAL_SECONDS = 4.0
_LEASE_SECONDS = 13.0
_LEASE_CHARACTERS = 1000


class RunLock:
    """Locks a folder for this process, until it is released or the process ends.

    The lock ends with the process, and forked loader workers do not inherit it. Some network file systems lock on each
    host separately, or not at all; so the owner also renews `.lease`. Unless a lock already proves that the last owner
    is gone, a start that finds a lease first watches whether it is still being renewed.

    Raises:
        UserError: if another process holds the folder, it cannot be written to, or there is a link in place of a file
            that would be written.
    """

    def __init__(self, folder: Path) -> None:
        self._lease = folder / ".lease"
        self._released = threading.Event()
        self._owner = f"process {os.getpid()} on {socket.gethostname()}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = os.fdopen(open_own(folder / ".lock", os.O_RDWR | os.O_CREAT), "r+", errors="replace")
        except OSError as error:
            raise _unwritable(folder, error) from error
        locks = self._lock(folder)
        last = self._read().partition(",")[0]
        if last and not (locks and last.endswith(f" on {socket.gethostname()}")):
            self._watch_lease(folder, last)
        self._file.seek(0)
        self._file.truncate()
        self._file.write(self._owner)
        self._file.flush()
        try:
            self._renew(0)
        except OSError as error:
            raise _unwritable(folder, error) from error
        threading.Thread(target=self._keep_renewing, name="run-lease", daemon=True).start()

    def release(self) -> None:
        """Releases the folder; the next start on another host then need not wait."""
        self._released.set()
        self._lease.unlink(missing_ok=True)
        self._file.close()

    def _lock(self, folder: Path) -> bool:
        """Whether the file system has locks; if so, this process now holds the folder's."""
        until = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EAGAIN):
                    return False
            if time.monotonic() > until:
                self._file.seek(0)
                self._refuse(folder, self._file.read().strip() or "another process")
            time.sleep(0.2)

    def _watch_lease(self, folder: Path, last: str) -> None:
        before, until = self._read(), time.monotonic() + _LEASE_SECONDS
        while time.monotonic() < until:
            time.sleep(0.2)
            if self._read() not in (before, ""):
                self._refuse(folder, last)

    def _refuse(self, folder: Path, owner: str) -> None:
        self._file.close()
        raise UserError(f"the run folder {folder} is in use by {owner}; stop it first, or choose another run_dir")

    def _read(self) -> str:
        try:
            with open(open_own(self._lease, os.O_RDONLY), errors="replace") as lease:
                return lease.read(_LEASE_CHARACTERS)
        except OSError:
            return ""

    def _renew(self, count: int) -> None:
        with open(open_own(self._lease, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "w") as lease:
            lease.write(f"{self._owner}, {count}")

    def _keep_renewing(self) -> None:
        count = 0
        while not self._released.wait(_RENEWAL_SECONDS):
            count += 1
            try:
                self._renew(count)
            except OSError:  # a full disk, say; the run's own writes will report it
                continue


def _unwritable(folder: Path, error: OSError) -> UserError:
    return UserError(f"cannot write to the run folder {folder}: {reason(error)}")
