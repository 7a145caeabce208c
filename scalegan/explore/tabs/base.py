"""What tabs have in common."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gradio as gr

from scalegan.explore.abilities import Abilities
from scalegan.explore.answers import Answer, Results, Workplace
from scalegan.explore.commanding import Command, Done
from scalegan.explore.settings import Settings

Run = Callable[[Command], Done]
Values = Mapping[Any, Any]


class Tab(ABC):
    """A form, a button, and what comes of it.

    Args:
        chosen: the control that says which runs are shown.

    Attributes:
        tab: Gradio's tab.
        made: the event after `make`.
        own: controls of the tab alone.
        inputs, outputs: of `make`.
    """

    title = ""
    about = ""
    button = "Go"

    def __init__(self, chosen: gr.Dropdown, settings: Settings, workplace: Workplace) -> None:
        self.chosen, self.settings, self.workplace = chosen, settings, workplace
        with gr.Tab(self.title) as self.tab:
            if self.about:
                gr.Markdown(self.about)
            controls = self.controls()
            self.go = gr.Button(self.button, variant="primary")
            self.results = Results(self.title)
        self.inputs = {chosen, *settings.all, *controls}
        self.own = controls
        self.outputs = self.results.all
        self.made = gr.on([self.go.click, *self.triggers()], self.make, self.inputs, self.outputs, **workplace.queue)

    def controls(self) -> Sequence[Any]:
        """Makes the tab's own controls."""
        return []

    def triggers(self) -> Sequence[Any]:
        """Events that do what the button does."""
        return []

    def fitted(self, runs: Sequence[Abilities]) -> dict[Any, Any]:
        """Updates of controls that depend on the runs."""
        return {}

    @staticmethod
    @abstractmethod
    def can(run: Abilities) -> bool:
        """Whether the tab is for a run."""

    @abstractmethod
    def answer(self, run: Abilities, values: Values, command: Run) -> Answer:
        """What a click makes with a run."""

    def make(self, values: Values, request: gr.Request, progress: gr.Progress = gr.Progress()) -> dict[Any, Any]:  # noqa: B008 -- how Gradio asks for it
        answers = self.workplace.answer(values[self.chosen], self.can,
                                        lambda run, command: self.answer(run, values, command), request, progress)
        if not answers:
            gr.Info("None of the chosen runs does this.")
        return self.results.updates(answers)
