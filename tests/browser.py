"""Debian's Chromium for tests of pages, driven by Playwright. It notes errors in the console, and requests off the
machine."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
#: Widths of a phone, a laptop and a wide screen.
WIDTHS = {390: 844, 1280: 800, 2560: 1440}


@dataclass
class Visit:
    """A page in the browser (`page`, of Playwright), with what went wrong in it."""

    page: Any
    errors: list[str] = field(default_factory=list)
    away: list[str] = field(default_factory=list)

    def check(self) -> None:
        """Fails if the page logged an error, or asked for something off the machine."""
        assert not self.errors, self.errors
        assert not self.away, self.away


@contextmanager
def chromium() -> Iterator[Any]:
    """A headless browser of Playwright. Skips where Chromium is missing."""
    if not CHROMIUM:
        pytest.skip("Chromium is not installed (Debian: apt install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def visit(browser: Any, address: str, width: int = 1280) -> Visit:
    """Opens a page in a window of one of WIDTHS."""
    page = browser.new_page(viewport={"width": width, "height": WIDTHS[width]})
    page.set_default_timeout(90_000)      # on busy machines
    seen = Visit(page)
    page.on("console", lambda message: seen.errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: seen.errors.append(str(error)))
    page.on("request", lambda request: seen.away.append(request.url) if _is_away(request.url) else None)
    page.goto(address)
    return seen


def _is_away(address: str) -> bool:
    parts = urlsplit(address)
    return parts.scheme not in ("data", "blob", "file") and parts.hostname not in ("127.0.0.1", "localhost")
