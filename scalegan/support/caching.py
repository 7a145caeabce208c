"""Folders for what is kept between runs: the user's own, closed to everyone else, and never necessary.

Where there is no such folder, because there is no home, the disk is full or someone else owns it, the work goes on
without, after a line that says so.
"""

import atexit
import errno
import os
import shutil
import stat
import sys
import tempfile
import uuid
from pathlib import Path

REMEDY = "set SCALEGAN_CACHE to a folder of your own with enough space"


def cache_root() -> Path:
    """$SCALEGAN_CACHE, or ~/.cache/scalegan. Raises OSError where there is neither."""
    named = os.environ.get("SCALEGAN_CACHE")
    if named:
        return Path(named)
    try:
        return Path.home() / ".cache" / "scalegan"
    except RuntimeError:
        raise OSError(errno.ENOENT, "there is no home directory to keep it in") from None


def cache_folder(*names: str) -> Path:
    """A folder of the cache, made if need be with mode 0700.

    Raises:
        OSError: where it cannot be made, or one on the way belongs to someone else, who could change what is in it, or
            is open to others' writing.
    """
    folder = cache_root()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in names:
        folder = folder / name
        make_own(folder)
    return folder


def make_own(folder: Path) -> None:
    """Makes a folder with mode 0700, or closes an existing one to others. Raises OSError as `cache_folder`."""
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise OSError(errno.ENOTDIR, "it is a link, not a folder", str(folder))
    if found.st_uid != os.geteuid():
        raise PermissionError(errno.EPERM, "it belongs to another user", str(folder))
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(errno.EPERM, "others can write to it, so that nothing in it can be trusted; remove it, "
                              "or empty it and `chmod 700` it", str(folder))
    if stat.S_IMODE(found.st_mode) != 0o700:
        folder.chmod(0o700)


def is_own_file(path: Path) -> bool:
    """Whether it is a regular file of this user, not a link to one."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()


def reason(error: Exception) -> str:
    """An error of the file system in words, with the file."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split()) or type(error).__name__


_told: set[str] = set()


def go_without(what: str, error: Exception) -> None:
    """Warns, once for each `what`, that it is not kept; of a node's ranks the first speaks."""
    if what not in _told and os.environ.get("LOCAL_RANK", "0") == "0":
        _told.add(what)
        print(f"scalegan: warning: {what} cannot be kept ({reason(error)}); going on without a cache; {REMEDY}",
              file=sys.stderr, flush=True)


_stand_ins: list[tuple[int, Path]] = []


def stand_in() -> Path:
    """The path of a folder that `make_own` makes, for what cannot be kept; it goes with this process.

    Raises:
        OSError: where there is no folder for temporary files.
    """
    folder = Path(tempfile.gettempdir()) / f"scalegan-{uuid.uuid4().hex}"
    _stand_ins.append((os.getpid(), folder))
    return folder


@atexit.register
def remove_stand_ins() -> None:
    """For the end of the process; a fork leaves its parent's alone."""
    for process, folder in _stand_ins:
        if process == os.getpid():
            shutil.rmtree(folder, ignore_errors=True)
