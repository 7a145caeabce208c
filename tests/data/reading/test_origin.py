"""Servers that fall silent, send too much or refuse: a line in bounded time and memory, never a hang."""

import gzip
import os
import resource
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from scalegan.data.manifest import Manifest
from scalegan.data.reading import origin
from scalegan.data.reading.cache import Remote
from scalegan.data.reading.webdataset import WebDatasetReader
from scalegan.errors import UserError

pytest.importorskip("aiohttp", reason="http:// needs aiohttp")
ZEROS = bytes(1 << 20)


class Server:
    """A web server of a set, some of whose files are answered by `trick`."""

    def __init__(self, folder: Path) -> None:
        self.tricks: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {}
        self.closing, self.asked, server = threading.Event(), [], self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.strip("/")
                server.asked.append(self.path)
                if name in server.tricks:
                    return server.tricks[name](self)
                if not (folder / name).is_file():
                    return self.send_error(404)
                return answer(self, (folder / name).read_bytes())

            def log_message(self, *arguments: object) -> None:
                """Logs nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads, self.server.handle_error = True, lambda *_: None
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"


def answer(handler: BaseHTTPRequestHandler, content: bytes, length: int | None = None, **headers: str) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content) if length is None else length))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(content)


@pytest.fixture
def server(tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("SCALEGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(origin, "SILENCE_SECONDS", 0.4)
    server = Server(tiny_set)
    yield server
    server.closing.set()
    server.server.shutdown()
    server.server.server_close()


def never(handler: BaseHTTPRequestHandler, closing: threading.Event) -> None:
    closing.wait(60)


def half(handler: BaseHTTPRequestHandler, closing: threading.Event) -> None:
    answer(handler, b"{", length=1000)
    handler.wfile.flush()
    closing.wait(60)


def drip(handler: BaseHTTPRequestHandler, closing: threading.Event) -> None:
    answer(handler, b"{", length=1000)
    while not closing.wait(0.1):
        handler.wfile.write(b" ")
        handler.wfile.flush()


def endless(handler: BaseHTTPRequestHandler, closing: threading.Event) -> None:
    handler.send_response(200)
    handler.end_headers()
    while not closing.is_set():
        handler.wfile.write(ZEROS)


@cache
def bomb() -> bytes:
    """128 MB of zeros."""
    return gzip.compress(ZEROS * 128, 1)


def compressed(handler: BaseHTTPRequestHandler, closing: threading.Event) -> None:
    answer(handler, bomb(), Content_Encoding="gzip")


def refused(status: int) -> Callable:
    def refuse(handler: BaseHTTPRequestHandler, closing: threading.Event) -> None:
        handler.send_error(status)

    refuse.__name__ = str(status)
    return refuse


@pytest.mark.parametrize("name, trick, words", [
    ("manifest.json", never, "in 2 attempts: the server has sent nothing for 0.4 s"),
    ("manifest.json", half, "in 2 attempts: the server has sent nothing for"),
    ("manifest.json", drip, "in 2 attempts: the server sends less than 10,000 bytes per second"),
    ("manifest.json", endless, "it is longer than any manifest"),
    ("manifest.json", compressed, "it is longer than any manifest"),
    ("index.safetensors", never, "in 2 attempts: the server has sent nothing for"),
    ("index.safetensors", endless, "it is longer than the manifest says"),
    ("index.safetensors", compressed, "it is longer than the manifest says"),
    ("000000.tar", never, "in 4 attempts: the server has sent nothing for"),
    ("000000.tar", half, "in 4 attempts: the server has sent nothing for"),
    ("000000.tar", endless, "it is longer than the manifest says"),
    ("000000.tar", compressed, "it is longer than the manifest says"),
    ("manifest.json", refused(403), r"no access to .*manifest\.json \(HTTP 403 Forbidden\); see whether the address"),
    ("manifest.json", refused(401), r"no access to .*manifest\.json \(HTTP 401"),
    ("000000.tar", refused(403), r"no access to .*000000\.tar"),
    ("manifest.json", refused(404), r"there is no .*manifest\.json"),
    ("manifest.json", refused(410), r"there is no .*manifest\.json"),
    ("manifest.json", refused(400), "cannot fetch .*: HTTP 400"),
    ("manifest.json", refused(503), "in 5 attempts: HTTP 503"),
], ids=lambda value: getattr(value, "__name__", ""))
def test_a_bad_server_is_a_line(name: str, trick: Callable, words: str, server: Server, tiny_set: Path) -> None:
    bomb()
    server.tricks[name] = lambda handler: trick(handler, server.closing)
    begun, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match=words) as error:
        remote = Remote(server.url, 10**9, pause_seconds=0.01)
        remote.open()
        remote.read(Manifest.load(tiny_set).shards[0], 0, 512)
    assert time.monotonic() - begun < 8 and "\n" not in str(error.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000       # KiB


def test_a_slow_start_and_a_gzipped_manifest_are_fine(server: Server, tiny_set: Path) -> None:
    content = (tiny_set / "manifest.json").read_bytes()

    def hesitant(handler: BaseHTTPRequestHandler) -> None:
        server.closing.wait(0.2)
        answer(handler, gzip.compress(content), Content_Encoding="gzip")

    server.tricks["manifest.json"] = hesitant
    remote = Remote(server.url, 10**9, pause_seconds=0.01)
    far, near = WebDatasetReader(remote.open(), remote), WebDatasetReader(tiny_set)
    assert far.manifest == near.manifest and next(far.stored(np.arange(1))) == next(near.stored(np.arange(1)))


def test_a_pipe_in_place_of_a_file_of_a_local_url(tiny_set: Path, tmp_path: Path,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCALEGAN_CACHE", str(tmp_path / "cache"))
    for name in ("manifest.json", "index.safetensors", "000000.tar"):
        copy = shutil.copytree(tiny_set, tmp_path / name)
        (copy / name).unlink()
        os.mkfifo(copy / name)
        with pytest.raises(UserError, match=f"{name} is not a regular file"):
            remote = Remote(f"file://{copy}", 10**9, pause_seconds=0.01)
            remote.open()
            remote.read(Manifest.load(tiny_set).shards[0], 0, 512)
