"""Files at a URL (s3://, http://, ... through fsspec), read in bounded time and memory, with readable errors."""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import fsspec
from fsspec.implementations.local import LocalFileSystem

from scalegan.errors import UserError
from scalegan.support.reading import regular

T = TypeVar("T")
MANIFEST, INDEX = "manifest.json", "index.safetensors"
PIECE = 1 << 20
ATTEMPTS = 5
SILENCE_SECONDS = 8.0           # without a byte, after which a server counts as silent
_LEAST_BYTES_PER_SECOND = 10_000
_GONE = (404, 410)
_REFUSED = (401, 403, 407)
_WORTH_ANOTHER_TRY = (408, 425, 429)    # besides 5xx


class Silence(TimeoutError):
    """A server that accepts a connection, and then sends nothing or next to nothing."""


class Mismatch(OSError):
    """A file that is not what the manifest says."""


class RemoteFolder:
    """The files of a folder at a URL.

    Args:
        url: of the folder.
        pause_seconds: delay before the first retry; doubled for each further one.
    """

    def __init__(self, url: str, pause_seconds: float) -> None:
        self.url, self.pause_seconds = url, pause_seconds

    def read(self, name: str, limit: int, silences: int) -> bytes:
        """A whole file of at most `limit` bytes; see `fetch`."""
        return self.fetch(name, limit, silences, b"".join)

    def fetch(self, name: str, limit: int, silences: int, take: Callable[[Iterator[bytes]], T]) -> T:
        """What `take` returns for a file's pieces; `take` is called again for each retry.

        Args:
            limit: the most bytes that it may have; a longer body is not read to its end.
            silences: after how many silences of `SILENCE_SECONDS` the server is given up on.

        Raises:
            UserError: if the file does not exist or may not be read, at once; or once retries are exhausted.
        """
        pause, silent = self.pause_seconds, 0
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return take(self._pieces(name, limit))
            except (ImportError, ValueError) as error:
                raise UserError(f"cannot open {self.url}: {error}") from error
            except _network_errors() as error:
                self._check_final(name, error)
                silent += isinstance(error, TimeoutError)
                if attempt == ATTEMPTS or silent == silences:
                    remedy = ("upload the set again" if isinstance(error, Mismatch) else
                              "see whether the server is up, and run the same command again")
                    raise UserError(f"cannot fetch {self.url}/{name} in {attempt} attempts: {_reason(error)}; "
                                    f"{remedy}") from error
                print(f"scalegan: {self.url}/{name}: {_reason(error)}; trying again in {pause:g} s", file=sys.stderr,
                      flush=True)
                time.sleep(pause)
                pause *= 2
        raise AssertionError("the loop returns or raises")

    def _pieces(self, name: str, limit: int) -> Iterator[bytes]:
        begun, received = time.monotonic(), 0
        with self._open(name) as file:
            while piece := file.read(PIECE):
                received += len(piece)
                if received > limit:
                    raise Mismatch(f"it is longer than {'any manifest' if name == MANIFEST else 'the manifest says'} "
                                   f"({limit:,} bytes)")
                yield piece
                if time.monotonic() - begun > SILENCE_SECONDS + received / _LEAST_BYTES_PER_SECOND:
                    raise Silence(f"the server sends less than {_LEAST_BYTES_PER_SECOND:,} bytes per second")

    def _open(self, name: str) -> Any:
        place = f"{self.url}/{name}"
        if self.url.startswith(("http://", "https://")):
            # Whole files are streamed, without asking for their size first: not every server supports ranges and HEAD.
            filesystem, path = fsspec.core.url_to_fs(place, client_kwargs={"timeout": _http_timeout()})
            return filesystem.open(path, "rb", block_size=0, size=1, headers={"Accept-Encoding": "identity"})
        filesystem, path = fsspec.core.url_to_fs(place)
        if isinstance(filesystem, LocalFileSystem):
            regular(Path(path))
        return filesystem.open(path, "rb")

    def _check_final(self, name: str, error: Exception) -> None:
        """Raises UserError for errors that another attempt would not change."""
        place, status = f"{self.url}/{name}", status_of(error)
        if is_missing(error):
            raise UserError(f"there is no {place}; set data.path to the URL of a folder that `scalegan prepare` "
                            "wrote") from error
        if status in _REFUSED or isinstance(error, PermissionError):
            raise UserError(f"no access to {place} ({_reason(error)}); see whether the address is right and your "
                            "credentials allow to read it") from error
        if status is not None and 400 <= status < 500 and status not in _WORTH_ANOTHER_TRY:
            raise UserError(f"cannot fetch {place}: {_reason(error)}") from error


def status_of(error: Exception) -> int | None:
    """The HTTP status behind an error, if there is one."""
    for one in (error, error.__cause__):
        if type(one).__module__.startswith("aiohttp") and isinstance(getattr(one, "status", None), int):
            return one.status
    return None


def is_missing(error: Exception) -> bool:
    """Whether the file does not exist. Over HTTP, fsspec may say so even if the server does not answer or fails; the
    actual reason is the cause."""
    status = status_of(error)
    if status is not None:
        return status in _GONE
    cause = error.__cause__
    outage = isinstance(cause, TimeoutError) or type(cause).__module__.startswith("aiohttp")
    return isinstance(error, FileNotFoundError) and not outage


def _reason(error: Exception) -> str:
    status, cause = status_of(error), error.__cause__ or error
    if status is not None:
        words = next(one.message for one in (error, error.__cause__) if getattr(one, "status", None) == status)
        return f"HTTP {status} {words}".strip()
    if isinstance(error, TimeoutError) and not isinstance(error, Silence):
        return f"the server has sent nothing for {SILENCE_SECONDS:g} s"
    return " ".join(str(cause).split())[:300] or type(cause).__name__


def _http_timeout() -> Any:
    import aiohttp

    return aiohttp.ClientTimeout(total=None, connect=None, sock_connect=SILENCE_SECONDS, sock_read=SILENCE_SECONDS)


def _network_errors() -> tuple[type[Exception], ...]:
    """OSError, and what the libraries beneath fsspec raise instead of it."""
    found: list[type[Exception]] = [OSError, EOFError, TimeoutError]
    for module, name in (("aiohttp", "ClientError"), ("botocore.exceptions", "BotoCoreError"),
                         ("botocore.exceptions", "ClientError")):
        if module in sys.modules:
            found.append(getattr(sys.modules[module], name))
    return tuple(found)
