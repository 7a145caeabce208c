"""The page, as one HTML text: live, for a server that answers its questions, or with everything in it.

Plotly draws the charts; its script comes with its Python package, and nothing is fetched from elsewhere.
"""

import base64
import json
from collections.abc import Sequence
from functools import cache
from html import escape
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from scalegan.cluster.job_states import JobStates
from scalegan.monitor.comparison import compared
from scalegan.monitor.run import Run
from scalegan.support.reading import DamagedFile, read_bytes

_SCRIPTS = ("source", "elements", "runs", "charts", "curves", "samples", "tables", "main")
_MOST_PICTURES, _MOST_PER_RUN = 160, 16      # of a file
_MOST_BYTES = 128 << 20


def live(title: str) -> str:
    """A page that asks where it came from."""
    return _page(title, "null", f'<script defer src="plotly.min.js?{version("plotly")}"></script>')


def whole(title: str, runs: Sequence[Run]) -> str:
    """A page that needs nothing else: as live, with some of the sample grids of each run."""
    jobs = JobStates(patience=10)
    jobs.look([run.job() for run in runs])
    data = {"rows": [run.row(jobs) for run in runs], "details": {}, "pictures": {}, "compared": compared(runs)}
    left = _MOST_BYTES
    for run in runs:
        most = max(1, min(_MOST_PER_RUN, _MOST_PICTURES // len(runs)))
        pictures = {}
        for images, _ in reversed(_spread(run.pictures, most)):
            content = _content(run, images)
            if content and len(content) < left:
                pictures[images] = f"data:image/png;base64,{base64.b64encode(content).decode()}"
                left -= len(content)
        data["pictures"][run.id] = pictures
        data["details"][run.id] = {**run.details(), "pictures": [(images, 0) for images in sorted(pictures)]}
    return _page(title, as_json(data), f"<script>{plotly()}</script>")


def _content(run: Run, images: int) -> bytes | None:
    path = run.picture(images)
    try:
        return read_bytes(path) if path else None
    except (FileNotFoundError, DamagedFile):
        return None


def _spread(found: Sequence[Any], most: int) -> list[Any]:
    """At most so many of them, evenly, with the last."""
    if len(found) <= most:
        return list(found)
    return [found[round((i + 1) * len(found) / most) - 1] for i in range(most)]


def as_json(tree: Any) -> str:
    """JSON that may stand within a <script>."""
    return json.dumps(tree, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


@cache
def plotly() -> str:
    """Plotly's script, of 4.8 MB."""
    from plotly.offline import get_plotlyjs

    return get_plotlyjs()


def _page(title: str, data: str, library: str) -> str:
    assets = files("scalegan.monitor") / "assets"
    parts = {"TITLE": escape(title), "STYLE": (assets / "page.css").read_text(), "DATA": data, "LIBRARY": library,
             "SCRIPTS": "\n".join((assets / f"{name}.js").read_text() for name in _SCRIPTS)}
    pieces = (assets / "page.html").read_text().split("{{")
    return pieces[0] + "".join(parts[name] + rest for name, _, rest in (piece.partition("}}") for piece in pieces[1:]))
