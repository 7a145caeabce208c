"""Damage to where a file lies: something else is in its place, or its name is a strange one."""

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

_GIANT = 3 << 30


def _instead(make: Callable[[Path], None]) -> Callable[[Path], None]:
    def put(path: Path) -> None:
        path.unlink()
        make(path)

    return put


def _socket(path: Path) -> None:
    before = os.getcwd()
    os.chdir(path.parent)       # the names of sockets are short
    try:
        with socket.socket(socket.AF_UNIX) as end:
            end.bind(path.name)
    finally:
        os.chdir(before)


def _folder_with_files(path: Path) -> None:
    path.mkdir()
    (path / "a").write_text("a")


def _giant(path: Path) -> None:
    os.truncate(path, _GIANT)


def _linked_outside(path: Path) -> None:
    """The same content, but in a file outside, which nobody may change."""
    outside = Path("../outside/victim")
    shutil.copy(path, outside)
    path.unlink()
    path.symlink_to(outside.resolve())


#: In place of a file.
PLACES: dict[str, Callable[[Path], None]] = {
    "a pipe": _instead(os.mkfifo),
    "a folder": _instead(Path.mkdir),
    "a folder with a file in it": _instead(_folder_with_files),
    "an endless device": _instead(lambda path: path.symlink_to("/dev/zero")),
    "an empty device": _instead(lambda path: path.symlink_to("/dev/null")),
    "a socket": _instead(_socket),
    "a link to itself": _instead(lambda path: path.symlink_to(path.name)),
    "a link to its folder": _instead(lambda path: path.symlink_to(".")),
    "a link to nothing": _instead(lambda path: path.symlink_to("nothing")),
    "a link to a file outside": _linked_outside,
    "nothing": Path.unlink,
    f"a file of {_GIANT >> 30} GB": _giant,
}

#: Other names for an image among others, as bytes.
NAMES: dict[str, bytes] = {
    "not UTF-8": b"\xff\xfe%s", "with a line end": b"a\nb%s", "of a path upwards": b"..%s", "of spaces": b"   %s",
    "like an option": b"--out%s", "of many digits": b"9" * 200 + b"%s", "of other digits": "²٣".encode() + b"%s",
    "with escapes": b"\x1b[31m%s",
}


def renamed(path: Path, name: bytes) -> Path:
    """The file under another name, with its suffix."""
    new = os.path.join(os.fsencode(path.parent), name % os.fsencode(path.suffix))
    os.rename(path, new)
    return Path(os.fsdecode(new))
