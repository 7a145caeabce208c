"""Shows runs on a page in the browser, while they train: states, curves over each other, samples over time, how recipes
differ, evaluations, and what went wrong. It only reads run folders; new runs appear by themselves.

The page can be opened from this machine alone; from another one, through `ssh -L 8008:127.0.0.1:8008 HOST`.
`scalegan compare` writes the same page to a file.
"""

import contextlib
import threading
from pathlib import Path

from scalegan.errors import UserError
from scalegan.support.arguments import verb_parser, whole
from scalegan.support.browsers import open_in_window

_PORT = 8008


def main(arguments: list[str]) -> int:
    parser = verb_parser("monitor", __doc__,
                         "monitor runs",
                         "monitor runs/digits runs/sweep --port 8010 --no-browser")
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN",
                        help="run folder, or folder of runs, up to three levels deep")
    parser.add_argument("--port", type=whole(0, 65535), default=_PORT,
                        help=f"port on this machine; 0 for any that is free (default {_PORT})")
    parser.add_argument("--no-browser", action="store_true", help="print the address, and open no browser")
    options = parser.parse_args(arguments)
    for path in options.runs:
        if not path.is_dir():
            raise UserError(f"{path} is not a folder; name a run folder, or a folder of runs")

    from scalegan.monitor.server import Server
    from scalegan.monitor.watch import Watch

    title = ", ".join(path.resolve().name or str(path) for path in options.runs)
    watch = Watch(options.runs)
    with Server(watch, title, options.port) as server:
        threading.Thread(target=watch.changes, daemon=True).start()     # looks while the browser comes
        print(f"{server.address}  (Ctrl-C ends)", flush=True)
        if not options.no_browser:
            open_in_window(server.address)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()
    return 0
