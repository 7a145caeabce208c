"""Opens pages in the user's browser."""

import os
import sys
import webbrowser


def open_in_window(address: str) -> None:
    """Opens an address where a browser can have a window; elsewhere one within the terminal might be started."""
    if sys.platform == "darwin" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")):
        webbrowser.open(address)
