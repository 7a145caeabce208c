"""Samples, or a photo's latent, moved along directions by sliders."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from scalegan.errors import UserError
from scalegan.explore import abilities, commands, latents
from scalegan.explore.abilities import Abilities
from scalegan.explore.answers import Answer
from scalegan.explore.commanding import Refused
from scalegan.explore.commands import Asked
from scalegan.explore.tabs.base import Run, Tab, Values
from scalegan.latents import directions

_SLIDERS = 8
_MOST = 4.0         # standard deviations of the latents
_KINDS = [("by labels", "labels"), ("SeFa", "sefa"), ("GANSpace", "ganspace")]


class Directions(Tab):
    title = "Directions"
    about = ("Moves the samples of the seeds along directions. Those by labels are found by `scalegan directions RUN "
             "--data PATH`; SeFa and GANSpace need no labels, and are found here. In standard deviations of the "
             "latents.")
    button = "Move"

    def controls(self) -> Sequence[Any]:
        self.found: dict[tuple, Path] = {}      # files that this page has made, by run, version and kind
        with gr.Row():
            self.kind = gr.Radio(_KINDS, value="sefa", label="Directions")
            self.names = gr.Dropdown([], multiselect=True, max_choices=_SLIDERS, label="Sliders for")
        self.latents = gr.File(label="In place of the seeds' samples: latents of photos, from the tab Project a photo",
                               file_count="multiple", file_types=[".safetensors"], height=140)
        with gr.Row():
            self.sliders = [gr.Slider(-_MOST, _MOST, 0, step=0.25, visible=False, min_width=220)
                            for _ in range(_SLIDERS)]
        known = gr.State()      # of what runs and kind the names are
        gr.on([self.kind.input, self.tab.select], self._listed, [known, self.chosen, self.kind, *self.settings.all],
              [known, self.names, *self.sliders], **self.workplace.queue)
        self.names.input(self._sliders_for, self.names, self.sliders, show_progress="hidden")
        return self.kind, self.names, self.latents, *self.sliders

    def triggers(self) -> Sequence[Any]:
        return [slider.release for slider in self.sliders]

    @staticmethod
    def can(run: Abilities) -> bool:
        return run.moves

    def answer(self, run: Abilities, values: Values, command: Run) -> Answer:
        amounts = {name: values[slider] for name, slider in zip(values[self.names], self.sliders) if values[slider]}
        if not amounts:
            raise Refused("move a slider first")
        asked, made = self.settings.asked(values), Answer()
        file = self._file(run, values[self.kind], asked, command)
        latent = self._latent(run, [Path(path) for path in values[self.latents] or ()])
        picture, after = self.workplace.directly(
            lambda folder: latents.moved(run, asked, amounts, file, latent, folder))
        made.pictures = [(picture, run.name)]
        made.files = [picture, after, file]
        found_here = file in self.found.values()
        made.commands = [*([str(commands.find_directions(run, values[self.kind], asked))] if found_here else []),
                         str(commands.edit(run, asked, amounts, file if found_here else None, latent))]
        made.notes = ["What is seen here is the last column of the picture that `scalegan edit` makes."]
        return made

    def _file(self, run: Abilities, kind: str, asked: Asked, command: Run) -> Path:
        """The file of directions: beside the run, or made here, as a run's folder is not written to.

        Raises:
            Refused: if there is none, and it takes labels to find some.
        """
        beside = directions.default_path(Path(run.path), kind)
        if beside.exists():
            return beside
        if kind == "labels":
            raise Refused(f"there are no directions by labels yet; `scalegan directions {run.path} --data PATH` finds "
                          "some, or choose SeFa")
        key = (run.path, abilities.version(run.path), kind, asked.average)
        if key not in self.found or not self.found[key].exists():
            self.found[key] = command(commands.find_directions(run, kind, asked)).out
        return self.found[key]

    def take(self, projected: Sequence[str] | None) -> Any:
        """Of the files of a projection, the latents."""
        return gr.update(value=[path for path in projected or () if Path(path).name == "latent.safetensors"])

    def _latent(self, run: Abilities, files: Sequence[Path]) -> Path | None:
        """That of the files which is of a run's weights.

        Raises:
            Refused: if files are given, and none is.
        """
        why = ""
        for file in files:
            try:
                self.workplace.directly(lambda folder, file=file: latents.check(run, file))
                return file
            except Refused as error:
                why = str(error)
        if files:
            raise Refused(why)
        return None

    def _listed(self, known: Any, paths: Sequence[str], kind: str, *settings: Any) -> list[Any]:
        """The names of a kind's directions, and sliders for the first; nothing new where they are known."""
        if known == (paths, kind):
            return [gr.skip()] * (2 + _SLIDERS)
        asked = self.settings.asked(dict(zip(self.settings.all, settings)))
        found: Mapping[str, None] = {}
        for path in paths:
            try:
                run = abilities.of(path)
                if self.can(run):
                    file = self._file(run, kind, asked, self.workplace.command)
                    found = {**found, **dict.fromkeys(directions.read(file).header.names)}
            except (Refused, UserError) as error:
                gr.Info(f"{Path(path).name}: {error}", title="No directions")
        first = list(found)[:4]
        return [(paths, kind), gr.update(choices=list(found), value=first), *self._sliders_for(first)]

    def _sliders_for(self, names: Sequence[str]) -> list[Any]:
        return [gr.update(visible=place < len(names), label=names[place] if place < len(names) else "", value=0)
                for place in range(_SLIDERS)]
