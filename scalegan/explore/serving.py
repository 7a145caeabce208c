"""Serves the page to this machine's browsers, and asks nothing of any other machine."""

import logging
import os
import tempfile
import threading
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path

# Before Gradio is imported: no statistics of use, no look for newer versions.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_OFFLINE"] = "1"

import gradio as gr

from scalegan.checkpoints import kept
from scalegan.errors import UserError
from scalegan.explore import abilities, commands
from scalegan.explore.answers import Workplace
from scalegan.explore.commanding import Refused
from scalegan.explore.page import CSS, TITLE, build
from scalegan.support.arguments import warn
from scalegan.support.browsers import open_in_window

_ADDRESS = "127.0.0.1"
_NETWORKS = 16              # that stay in memory
_LARGEST_UPLOAD = "200mb"
#: Fonts that browsers have; Gradio's own themes ask Google for theirs.
_THEME = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}


def serve(runs: Mapping[str, str], port: int | None, ports: Iterable[int], browser: bool) -> int:
    """Serves the page of runs, paths by name, until Ctrl-C.

    Raises:
        UserError: if no run can be read or explored, or the port is taken.
    """
    logging.getLogger("httpx").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="gradio")
    with tempfile.TemporaryDirectory(prefix="scalegan_explore_") as folder, kept.keeping(_NETWORKS):
        os.environ["GRADIO_TEMP_DIR"] = str(Path(folder) / "shown")
        workplace = Workplace(Path(folder))
        _warm_up(runs.values(), workplace)
        page = build(runs, workplace)
        page.queue(default_concurrency_limit=8)
        address = _launched(page, [port] if port else ports)
        print(f"{TITLE}: {address} (Ctrl-C ends it)", flush=True)
        if browser:
            open_in_window(address)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            page.close(verbose=False)
    return 0


def _warm_up(runs: Iterable[str], workplace: Workplace) -> None:
    """Loads what the first picture needs, so that visitors do not wait for it.

    Raises:
        UserError: if no run can be read.
    """
    problems = []
    for run in runs:
        try:
            one = abilities.of(run)
            if one.generates:
                workplace.command(commands.sample(one, commands.Asked("0")))
            break
        except (UserError, Refused) as error:
            problems.append(str(error))
    else:
        raise UserError(problems[0])
    for problem in problems:
        warn(problem)


def _launched(page: gr.Blocks, ports: Iterable[int]) -> str:
    """The page's address, at the first free port."""
    tried = []
    for port in ports:
        try:
            _, address, _ = page.launch(
                server_name=_ADDRESS, server_port=port, prevent_thread_lock=True, quiet=True, share=False, css=CSS,
                theme=gr.themes.Default(**_THEME), footer_links=[], max_file_size=_LARGEST_UPLOAD, ssr_mode=False,
                enable_monitoring=False, show_error=True)
            return address
        except OSError:
            tried.append(port)
    raise UserError(f"port {tried[0]} is taken; name another with --port" if len(tried) == 1 else
                    f"ports {tried[0]} to {tried[-1]} are taken; name another with --port")
