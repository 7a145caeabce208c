"""A monitor of the runs in a test's `folder`."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from scalegan.monitor import watch
from scalegan.monitor.server import Server
from scalegan.monitor.watch import Watch


@pytest.fixture
def server(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(watch, "_EVERY_SECONDS", 0.0)
    with Server(Watch([folder]), "runs", 0) as found:
        threading.Thread(target=found.serve_forever, args=(0.01,), daemon=True).start()
        yield found
        found.shutdown()
