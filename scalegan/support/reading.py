"""The one way to read whole files, ours and other people's: regular, bounded, UTF-8, checked by type.

Whatever is wrong raises `DamagedFile`, one line that names the file. A caller that has a fallback catches it.
"""

import json
import os
import stat
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from scalegan.errors import UserError

T = TypeVar("T")
MEGABYTE = 1 << 20


class DamagedFile(UserError):
    """A file that is there, but is not what it should be."""


def read_bytes(path: Path, limit: int = 64 * MEGABYTE) -> bytes:
    """A whole regular file.

    Raises:
        FileNotFoundError: if there is none.
        DamagedFile: if it is a folder, pipe or device, is larger than `limit` bytes, or cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)     # opening a pipe would wait
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DamagedFile(f"cannot read {path}: {error.strerror}") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise DamagedFile(f"{path} is not a regular file")
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise DamagedFile(f"cannot read {path}: {error.strerror}") from error
    finally:
        os.close(descriptor)
    if len(content) > limit:
        raise DamagedFile(f"{path} is larger than {limit:,} bytes, too large for this kind of file")
    return content


def read_tail(path: Path, count: int) -> list[bytes]:
    """The complete lines among the last `count` bytes of a regular file that may be of any size; none if there is no
    such file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return []
    with open(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            return []
        file.seek(max(0, found.st_size - count))
        return [line for line in file.read(count).splitlines(keepends=True) if line.endswith(b"\n")]


def regular(path: Path) -> Path:
    """`path`, for a library that opens it by name, and would wait for a pipe forever, or read a device without end.

    Raises:
        FileNotFoundError: if there is none.
        DamagedFile: if it is not a regular file.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DamagedFile(f"cannot read {path}: {error.strerror}") from error
    if not stat.S_ISREG(mode):
        raise DamagedFile(f"{path} is not a regular file")
    return path


def read_text(path: Path, limit: int = 64 * MEGABYTE) -> str:
    """A whole file of UTF-8; see `read_bytes`."""
    try:
        return read_bytes(path, limit).decode()
    except UnicodeDecodeError as error:
        raise DamagedFile(f"{path} is not UTF-8 text (byte {error.start})") from error


def read_json(path: Path, kind: Any = dict[str, Any], limit: int = 64 * MEGABYTE) -> Any:
    """The contents of a JSON file, checked against a type that pydantic knows; see `read_bytes`."""
    return parse_json(read_text(path, limit), str(path), kind)


def read_json_lines(path: Path, kind: Any = dict[str, Any]) -> list[Any]:
    """The lines of a JSON-lines file that are whole and of the type; none if there is no file.

    A killed process may leave half a line. Figures may be NaN or infinite.
    """
    try:
        lines = read_bytes(path, 1024 * MEGABYTE).decode(errors="replace").splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        try:
            found.append(parse_json(line, str(path), kind, finite=False))
        except DamagedFile:
            continue
    return found


def parse_json(text: str | bytes, name: str, kind: Any = dict[str, Any], finite: bool = True) -> Any:
    """JSON from elsewhere, such as a header inside a file; `name` says where it is from.

    Numbers of thousands of digits and excessive nesting count as damage; so do NaN and infinities if `finite`.
    """
    def refuse(word: str) -> None:
        raise ValueError(f"{word} is not valid JSON")

    try:
        tree = json.loads(text, parse_constant=refuse if finite else None)
    except (ValueError, RecursionError) as error:
        raise DamagedFile(f"{name} is not JSON: {_line(error)}") from error
    return checked(tree, name, kind)


def checked(tree: Any, name: str, kind: Any) -> Any:
    """`tree` as a value of a type that pydantic knows, such as a dataclass. Numbers as text are accepted as numbers
    unless the type is strict.

    Raises:
        DamagedFile: naming the first field that is missing or wrong.
    """
    from pydantic import ValidationError

    try:
        return _adapter(kind).validate_python(tree)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise DamagedFile(f"{name}: {field or 'the whole'}: {first['msg'][0].lower()}{first['msg'][1:]}") from error
    except RecursionError as error:
        raise DamagedFile(f"{name} is nested too deeply") from error


def or_none(read: Callable[[], T]) -> T | None:
    """The result of `read`; None if its file is missing or damaged."""
    try:
        return read()
    except (FileNotFoundError, DamagedFile):
        return None


@cache
def _adapter(kind: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _line(error: BaseException) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())[:200]
