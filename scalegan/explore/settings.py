"""What the samples of all tabs have in common: seeds, labels, texts, truncation, noise, average."""

import random
from argparse import ArgumentTypeError
from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from scalegan.explore.abilities import Abilities
from scalegan.explore.commands import Asked
from scalegan.support.arguments import seeds as parsed

_MOST_SEED, _USUAL = 999_999, 16


class Settings:
    """Controls beside the tabs. Those that no chosen run takes are hidden."""

    def __init__(self) -> None:
        with gr.Group() as self.group:
            self.seeds = gr.Textbox(f"0-{_USUAL - 1}", label="Seeds", info="Such as 0-15 or 1,5,9.")
            self.other = gr.Button("Other seeds", size="sm")
        self.labels = gr.Dropdown([], multiselect=True, label="Classes", visible=False)
        self.texts = gr.Textbox(label="Texts", lines=2, info="One in each line.", visible=False)
        self.psi = gr.Slider(-1, 1.5, 1, step=0.05, label="Truncation psi", info="Below 1: more typical, less varied.",
                             visible=False)
        self.noise = gr.Radio(["const", "random"], value="const", label="Noise", visible=False,
                              info="The same for all samples, or one for each seed.")
        self.average = gr.Dropdown([("main", "")], value="", label="Average of the weights", visible=False)
        self.anew = self.other.click(_others, self.seeds, self.seeds, show_progress="hidden")
        #: What commands are made from; and what `fitted` updates.
        self.all = [self.seeds, self.labels, self.texts, self.psi, self.noise, self.average]
        self.fits = [self.group, *self.all]

    def fitted(self, runs: Sequence[Abilities]) -> dict[Any, Any]:
        """The controls that some run takes, with what it knows."""
        labels = list(dict.fromkeys(name for run in runs for name in run.labels))
        averages = list(dict.fromkeys(name for run in runs for name in run.averages))
        several = any(run.several for run in runs)
        table = any(run.texts == "condition" for run in runs)
        return {
            self.group: gr.update(visible=any(run.generates for run in runs)),
            self.labels: gr.update(choices=labels, value=[], visible=bool(labels),
                                   label="Attributes that all have" if several else "Classes"),
            self.texts: gr.update(visible=any(run.texts for run in runs), label="Conditions" if table else "Texts",
                                  info="One sample's in each line, such as age=40, kind=cat." if table else
                                  "One in each line."),
            self.psi: gr.update(visible=any(run.truncates for run in runs)),
            self.noise: gr.update(visible=any(run.styled for run in runs)),
            self.average: gr.update(choices=[("main", ""), *averages], value="", visible=bool(averages))}

    def asked(self, values: Mapping[Any, Any]) -> Asked:
        """What the visitor asks for."""
        return Asked(values[self.seeds], values[self.labels] or (), values[self.texts] or "", values[self.psi],
                     values[self.noise], values[self.average] or "")


def _others(seeds: str) -> str:
    """As many seeds as before, from another place."""
    try:
        count = len(parsed("".join(seeds.split())))
    except ArgumentTypeError:
        count = _USUAL
    first = random.randrange(_MOST_SEED)
    return f"{first}-{first + count - 1}" if count > 1 else str(first)
