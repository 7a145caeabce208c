"""Samples beside the real images that are most like them, to see whether a run has learnt its data by heart."""

from collections.abc import Sequence
from typing import Any

import gradio as gr

from scalegan.explore import commands
from scalegan.explore.abilities import Abilities
from scalegan.explore.answers import Answer
from scalegan.explore.commanding import Refused
from scalegan.explore.tabs.base import Run, Tab, Values


class Nearest(Tab):
    title = "Nearest images"
    about = ("The first ten samples, each with the seven training images that are nearest in the features of a "
             "network. Near copies mean that the run has learnt images by heart. Takes a minute or two on a CPU.")
    button = "Look"

    def controls(self) -> Sequence[Any]:
        with gr.Row():
            self.data = gr.Textbox(label="Images", info="Shards, a folder or a zip; where empty, the run's own.")
            self.count = gr.Slider(100, 50_000, 1000, step=100, label="How many of them")
        return self.data, self.count

    @staticmethod
    def can(run: Abilities) -> bool:
        return run.moves

    def answer(self, run: Abilities, values: Values, command: Run) -> Answer:
        made, asked = Answer(), self.settings.asked(values)
        samples = made.add(command(commands.sample(run, asked)))
        if not (data := values[self.data].strip() or run.data):
            raise Refused("name the images; what it was trained on is not said, or is not at hand")
        done = made.add(command(commands.nearest(samples.out, data, values[self.count])))
        made.pictures, made.files = [(done.out, f"{run.name}: samples, and what is nearest")], [done.out]
        return made
