"""Faces: recognised, rebuilt, transformed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from scalegan.explore import commands
from scalegan.explore.abilities import Abilities
from scalegan.explore.answers import Answer
from scalegan.explore.commanding import Refused
from scalegan.explore.tabs.base import Run, Tab, Values

_MOST_SHOWN = 12        # attributes of a face, the most probable


class Faces(Tab):
    title = "Faces"
    about = "Looks for the largest face of each photo. Recognises its attributes, rebuilds it, or gives it others."

    def controls(self) -> Sequence[Any]:
        self.photos = gr.File(label="Photos of people", file_count="multiple", height=140)
        self.action = gr.Radio(["recognise", "rebuild", "transform"], value="recognise", label="What to do")
        with gr.Row():
            self.wanted = gr.Dropdown([], multiselect=True, label="Transform: with")
            self.unwanted = gr.Dropdown([], multiselect=True, label="Transform: without")
        self.aligned = gr.Checkbox(label="Photos are faces already, cut as the run's data is")
        return self.photos, self.action, self.wanted, self.unwanted, self.aligned

    @staticmethod
    def can(run: Abilities) -> bool:
        return bool(run.faces)

    def fitted(self, runs: Sequence[Abilities]) -> dict[Any, Any]:
        faces = [run for run in runs if run.faces]
        actions = list(dict.fromkeys(action for run in faces for action in run.faces))
        names = list(dict.fromkeys(name for run in faces for name in run.labels or run.sets))
        return {self.action: gr.update(choices=actions, value=actions[0] if actions else None),
                **{each: gr.update(choices=names, value=[]) for each in (self.wanted, self.unwanted)}}

    def answer(self, run: Abilities, values: Values, command: Run) -> Answer:
        if not values[self.photos]:
            raise Refused("choose photos first")
        action, made = values[self.action], Answer()
        photos = [Path(photo) for photo in values[self.photos]]
        done = made.add(command(commands.face(run, action, photos, values[self.wanted], values[self.unwanted],
                                              values[self.aligned])))
        made.files = sorted(path for path in done.out.rglob("*") if path.is_file())
        made.pictures = [(done.out / "picture.png", f"{run.name}: {action}")]
        if action == "recognise":
            made.notes += [f"{Path(line['file']).name}: {_likely(line['attributes'])}" for line in done.lines]
        return made


def _likely(probabilities: Mapping[str, float]) -> str:
    """The most probable attributes."""
    ranked = sorted(probabilities.items(), key=lambda item: -item[1])[:_MOST_SHOWN]
    return ", ".join(f"{name.replace('_', ' ')} {share:.0%}" for name, share in ranked)
