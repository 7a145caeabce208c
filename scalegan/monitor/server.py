"""Serves the page to browsers on this machine. It answers GET alone, and knows no file but sample grids."""

import gzip
import re
import sys
from functools import lru_cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from scalegan.errors import UserError
from scalegan.monitor import page
from scalegan.monitor.watch import Watch
from scalegan.support.reading import DamagedFile, read_bytes

LOOPBACK = "127.0.0.1"
# A site elsewhere could have its own name lead to this machine (DNS rebinding), but that name is then in the request.
_HOST = re.compile("(127\\.0\\.0\\.1|localhost|\\[::1\\])(:[0-9]{1,5})?")
_RUN = re.compile("/run/([0-9a-f]{12})\\.json")
_SAMPLES = re.compile("/samples/([0-9a-f]{12})/([0-9]{1,15})\\.png")
_MOST_NAMED = 2000
_WORTH_COMPRESSING = 50_000
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'unsafe-inline'; "
                               "img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
                               "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin"}


class Server(ThreadingHTTPServer):
    """A server of one page about the runs of a `Watch`.

    Args:
        port: 0 for any that is free.

    Raises:
        UserError: if the port is in use.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, watch: Watch, title: str, port: int) -> None:
        self.watch, self.title = watch, title
        try:
            super().__init__((LOOPBACK, port), _Visit)
        except OSError as error:
            raise UserError(f"port {port} cannot be used ({error.strerror}); name another with --port, or 0 for any "
                            "that is free") from error

    @property
    def address(self) -> str:
        return f"http://{LOOPBACK}:{self.server_port}/"

    def handle_error(self, request: object, client_address: object) -> None:
        """A visitor who leaves early is no error."""
        error = sys.exc_info()[1]
        if not isinstance(error, (ConnectionError, TimeoutError)):
            print(f"scalegan: warning: a request failed ({type(error).__name__}: {error})", file=sys.stderr, flush=True)


class _Visit(BaseHTTPRequestHandler):
    server: Server
    server_version, sys_version = "scalegan", ""
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        if not _HOST.fullmatch(self.headers.get("Host", "")):
            return self.send_error(HTTPStatus.FORBIDDEN, "ask for 127.0.0.1 or localhost")
        parts = urlsplit(self.path)
        try:
            return self._answer(parts.path, parse_qs(parts.query))
        except (KeyError, FileNotFoundError):
            return self.send_error(HTTPStatus.NOT_FOUND)

    def _answer(self, path: str, query: dict[str, list[str]]) -> None:
        watch = self.server.watch
        if path == "/":
            return self._text(page.live(self.server.title), "text/html")
        if path == "/plotly.min.js":
            return self._text(page.plotly(), "text/javascript", lasting=True)
        if path == "/runs.json":
            since = query.get("since", ["0"])[0]
            return self._json(watch.changes(int(since) if re.fullmatch("[0-9]{1,15}", since) else 0))
        if path == "/compared.json":
            return self._json(watch.compared(query.get("runs", [""])[0].split(",")[:_MOST_NAMED]))
        if match := _RUN.fullmatch(path):
            return self._json(watch.details(match[1]))
        if match := _SAMPLES.fullmatch(path):
            return self._picture(match[1], int(match[2]))
        raise KeyError(path)

    def _picture(self, run: str, images: int) -> None:
        path = self.server.watch.runs[run].picture(images)
        if path is None:
            raise KeyError(images)
        try:
            self._send(read_bytes(path), "image/png", lasting=True)
        except DamagedFile:
            raise KeyError(images) from None

    def _json(self, tree: object) -> None:
        self._text(page.as_json(tree), "application/json")

    def _text(self, text: str, kind: str, lasting: bool = False) -> None:
        small = len(text) > _WORTH_COMPRESSING and "gzip" in self.headers.get("Accept-Encoding", "")
        compress = _compressed_once if lasting else _compressed
        self._send(compress(text) if small else text.encode(), f"{kind}; charset=utf-8", lasting,
                   {"Content-Encoding": "gzip"} if small else {})

    def _send(self, content: bytes, kind: str, lasting: bool, more: dict[str, str] | None = None) -> None:
        self.send_response(HTTPStatus.OK)
        caching = "private, max-age=86400, immutable" if lasting else "no-store"
        for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), "Cache-Control": caching,
                            **_HEADERS, **(more or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        """Requests are not news."""


def _compressed(text: str) -> bytes:
    return gzip.compress(text.encode(), 1)


_compressed_once = lru_cache(1)(_compressed)
