"""Photos turned into images: coloured, enlarged, translated."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from scalegan.explore import commands
from scalegan.explore.abilities import Abilities
from scalegan.explore.answers import Answer
from scalegan.explore.commanding import Refused
from scalegan.explore.tabs.base import Run, Tab, Values


class Images(Tab):
    title = "Turn photos into images"
    about = "Colours, enlarges or translates photos, as the run has learnt."
    button = "Turn"

    def controls(self) -> Sequence[Any]:
        self.photos = gr.File(label="Photos, or zips of photos", file_count="multiple", height=140)
        with gr.Row():
            self.network = gr.Dropdown([], label="Network")
            self.wanted = gr.Dropdown([], multiselect=True, label="With", visible=False)
            self.unwanted = gr.Dropdown([], multiselect=True, label="Without", visible=False)
        return self.photos, self.network, self.wanted, self.unwanted

    @staticmethod
    def can(run: Abilities) -> bool:
        return bool(run.answers)

    def fitted(self, runs: Sequence[Abilities]) -> dict[Any, Any]:
        networks = list(dict.fromkeys(name for run in runs for name in run.answers))
        sets = list(dict.fromkeys(name for run in runs for name in run.sets))
        return {self.network: gr.update(choices=networks, value=networks[0] if networks else None,
                                        visible=len(networks) > 1),
                **{each: gr.update(choices=sets, value=[], visible=bool(sets))
                   for each in (self.wanted, self.unwanted)}}

    def answer(self, run: Abilities, values: Values, command: Run) -> Answer:
        if not values[self.photos]:
            raise Refused("choose photos first")
        network = values[self.network] if values[self.network] in run.answers else run.answers[0]
        photos = [Path(photo) for photo in values[self.photos]]
        made = Answer()
        done = made.add(command(commands.answer(run, network, photos, values[self.wanted], values[self.unwanted])))
        made.files = sorted(path for path in done.out.rglob("*") if path.is_file())
        pictures = [path for path in made.files if path.suffix == ".png"]
        made.pictures = [(path, f"{run.name}: {path.stem}") for path in pictures]
        return made
