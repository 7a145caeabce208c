"""Walks between samples."""

from collections.abc import Sequence
from typing import Any

import gradio as gr

from scalegan.explore import commands
from scalegan.explore.abilities import Abilities
from scalegan.explore.answers import Answer
from scalegan.explore.tabs.base import Run, Tab, Values


class Walk(Tab):
    title = "Walk"
    about = "From each seed to the next, and back to the first."
    button = "Walk"

    def controls(self) -> Sequence[Any]:
        with gr.Row():
            self.steps = gr.Slider(2, 60, 12, step=1, label="Steps from one seed to the next")
            self.form = gr.Radio([("animation", "gif"), ("strip", "png")], value="gif", label="As")
        return self.steps, self.form

    @staticmethod
    def can(run: Abilities) -> bool:
        return run.moves

    def answer(self, run: Abilities, values: Values, command: Run) -> Answer:
        made = Answer()
        done = made.add(command(commands.walk(run, self.settings.asked(values), values[self.steps],
                                              values[self.form])))
        made.pictures, made.files = [(done.out, run.name)], [done.out]
        return made
