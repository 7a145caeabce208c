"""Style mixing (Karras et al., 2019)."""

from collections.abc import Sequence
from typing import Any

import gradio as gr

from scalegan.explore import commands
from scalegan.explore.abilities import Abilities
from scalegan.explore.answers import Answer
from scalegan.explore.tabs.base import Run, Tab, Values


class Mixing(Tab):
    title = "Mix styles"
    about = "The coarse styles (pose, shape) of the seeds at the side, with the finer ones (colours, detail) of others."
    button = "Mix"

    def controls(self) -> Sequence[Any]:
        self.fine = gr.Textbox("100-107", label="Seeds of the finer styles")
        return [self.fine]

    @staticmethod
    def can(run: Abilities) -> bool:
        return run.styled

    def answer(self, run: Abilities, values: Values, command: Run) -> Answer:
        made = Answer()
        done = made.add(command(commands.mix(run, self.settings.asked(values), values[self.fine])))
        made.pictures, made.files = [(done.out, run.name)], [done.out]
        return made
