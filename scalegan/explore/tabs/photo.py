"""The latent of a photo."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from scalegan.explore import commands
from scalegan.explore.abilities import Abilities
from scalegan.explore.answers import Answer
from scalegan.explore.commanding import Refused
from scalegan.explore.tabs.base import Run, Tab, Values


class Photo(Tab):
    title = "Project a photo"
    about = "Finds the latent whose image is most like a photo. The tab Directions can then move it."
    button = "Project"

    def controls(self) -> Sequence[Any]:
        self.photo = gr.File(label="Photo", file_types=["image"], height=140)
        with gr.Row():
            self.space = gr.Radio(["w", "w+"], value="w", label="Space (style-based generators)")
            self.steps = gr.Slider(50, 1000, 300, step=50, label="Steps (style-based generators)")
        self.tune = gr.Checkbox(label="Then train the generator on the photo (pivotal tuning)")
        return self.photo, self.space, self.steps, self.tune

    @staticmethod
    def can(run: Abilities) -> bool:
        return run.moves

    def answer(self, run: Abilities, values: Values, command: Run) -> Answer:
        if not values[self.photo]:
            raise Refused("choose a photo first")
        made = Answer()
        done = made.add(command(commands.project(run, self.settings.asked(values), Path(values[self.photo]),
                                                 values[self.space], values[self.steps], values[self.tune])))
        figures = done.lines[-1]
        caption = f"{run.name}: distance {figures['distance']:.3f} in {figures['alike_in']}, PSNR {figures['psnr']} dB"
        made.pictures = [(done.out / "picture.png", caption), (done.out / "way.gif", "the way there")]
        made.files = sorted(done.out.iterdir())
        return made
