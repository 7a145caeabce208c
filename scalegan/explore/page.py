"""The page: settings at the side, a tab for each thing to do, and below what was made the commands that make it."""

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TypeVar

import gradio as gr

from scalegan.errors import UserError
from scalegan.explore import abilities, tabs
from scalegan.explore.answers import Workplace
from scalegan.explore.settings import Settings
from scalegan.explore.tabs.base import Tab
from scalegan.explore.tabs.directions import Directions
from scalegan.explore.tabs.photo import Photo
from scalegan.explore.tabs.samples import Samples

T = TypeVar("T", bound=Tab)

TITLE = "ScaleGAN explorer"
#: There the settings cover the page.
_FOLD_ON_PHONES = "() => { if (innerWidth < 768) document.querySelector('.sidebar .toggle-button')?.click() }"
_LOOK_SECONDS = 5           # between looks for a new checkpoint
_MOST_AT_FIRST = 3          # runs that are shown side by side before anyone chooses
_LOOKED_INTO = 16           # runs, to see which tabs they need
_KEPT_SECONDS = (3600, 24 * 3600)       # how often Gradio's copies of pictures are looked through; how old they get
#: Small images are enlarged as they are.
CSS = """
.pictures img { image-rendering: pixelated; max-height: 85vh; }
.pictures .grid-wrap { max-height: none; }
@media (max-width: 600px) { .pictures .grid-container { grid-template-columns: 1fr !important; } }
"""


def build(runs: Mapping[str, str], workplace: Workplace) -> gr.Blocks:
    """The page of runs, paths by name.

    Raises:
        UserError: if it can do nothing with any of them.
    """
    useful = _useful(runs)
    if not useful:
        raise UserError(f"{', '.join(runs.values())}: there is nothing to explore, as none makes images or volumes, or "
                        "takes photos")
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=_KEPT_SECONDS, fill_width=True) as page:
        with gr.Sidebar(width=320):
            gr.Markdown(f"## {TITLE}")
            chosen = gr.Dropdown(list(runs.items()), value=list(runs.values())[:_MOST_AT_FIRST], multiselect=True,
                                 label="Runs", info="Several are shown side by side.")
            status = gr.Markdown()
            settings = Settings()
            stop = gr.Button("Stop", size="sm", variant="stop")
        with gr.Tabs():
            made = [kind(chosen, settings, workplace) for kind in useful]
        versions = gr.State()
        stop.click(workplace.stop, None, None, queue=False, show_progress="hidden")

        def shown(paths: Sequence[str]) -> dict:
            """The controls that apply to the runs."""
            found = abilities.of_all(paths)
            return {control: update for part in (settings, *made) for control, update in part.fitted(found).items()}

        def looked(paths: Sequence[str], known: dict | None) -> tuple:
            """How far the runs are, and their versions if any has changed."""
            now = {path: str(abilities.version(path)) for path in paths}
            return _status(paths), gr.skip() if now == known else now

        def of(kind: type[T]) -> list[T]:
            return [tab for tab in made if isinstance(tab, kind)]

        controls = [*settings.fits, *(control for tab in made for control in tab.own)]
        page.load(None, None, None, js=_FOLD_ON_PHONES)
        page.load(shown, chosen, controls)
        chosen.change(shown, chosen, controls)
        # So that versions change with the runs that are chosen, and with their checkpoints.
        gr.on([page.load, chosen.change, gr.Timer(_LOOK_SECONDS).tick], looked, [chosen, versions], [status, versions],
              show_progress="hidden")
        for samples in of(Samples):
            for after in (versions.change, settings.anew.then):
                after(samples.make, samples.inputs, samples.outputs, **workplace.queue)
        for photo, directions in product(of(Photo), of(Directions)):
            photo.made.then(directions.take, photo.results.files, directions.latents, show_progress="hidden")
    return page


def _useful(runs: Mapping[str, str]) -> list[type[Tab]]:
    """The tabs that some of the runs need; all, if there are too many runs to look into each."""
    if len(runs) > _LOOKED_INTO:
        return list(tabs.ALL)
    found = abilities.of_all(runs.values())
    return [tab for tab in tabs.ALL if any(map(tab.can, found))]


def _status(paths: Sequence[str]) -> str:
    """A line for each run."""
    lines = []
    for path in paths:
        try:
            what = f"{abilities.of(path).images:,} images{abilities.state(path)}"
        except UserError as error:
            what = str(error)
        lines.append(f"**{Path(path).name}**: {what}")
    return "  \n".join(lines)
