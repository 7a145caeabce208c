"""Samples of seeds."""

from collections.abc import Sequence
from typing import Any

from scalegan.explore import commands, latents
from scalegan.explore.abilities import Abilities
from scalegan.explore.answers import Answer
from scalegan.explore.tabs.base import Run, Tab, Values

_LISTED = 64        # files to download


class Samples(Tab):
    title = "Samples"
    button = "Generate"

    def triggers(self) -> Sequence[Any]:
        of = self.settings
        return [of.seeds.submit, of.labels.input, of.texts.submit, of.psi.release, of.noise.input,
                of.average.input]

    @staticmethod
    def can(run: Abilities) -> bool:
        return run.generates

    def answer(self, run: Abilities, values: Values, command: Run) -> Answer:
        made, asked = Answer(), self.settings.asked(values)
        done = made.add(command(commands.sample(run, asked)))
        made.pictures = [(done.out / "grid.png", f"{run.name}, {run.images:,} images")]
        made.files = [done.out / "grid.png", *sorted(done.out.glob("seed*"))[:_LISTED]]
        if run.moves:
            made.files.append(self.workplace.directly(
                lambda folder: latents.of_samples(run, asked, folder / "latents.safetensors")))
        return made
