"""Evaluations during training: at fixed intervals, of the averaged generator, by all ranks together."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from scalegan import config
from scalegan.checkpoints.decoders import Decoded
from scalegan.data.spec import Spec
from scalegan.engines.ranks import Ranks
from scalegan.errors import RecipeError
from scalegan.games.base import DECODER, Game
from scalegan.metrics import evaluation, extractors, results
from scalegan.metrics.generators import samples_of
from scalegan.metrics.images import Images, described
from scalegan.metrics.labels import matched_labels


class InTraining:
    """Evaluates a generator as `scalegan evaluate` would evaluate its checkpoint.

    Args:
        settings: the recipe's `eval`.
        game: the game whose samples are measured.
        about: the `about` that its default export would have once loaded.
        reals: the images to compare with: the run's data, or held-out data.
        folder: the run folder; results go to its evaluations.jsonl.
        inputs: images by stream, for a game that translates them.

    Raises:
        UserError: if the extractor's weights are missing, or a metric does not fit the model or the data.
    """

    def __init__(self, settings: config.Eval, game: Game, about: dict[str, Any], reals: Images, ranks: Ranks,
                 folder: Path, inputs: Mapping[str, Images] | None = None) -> None:
        spec = Spec.of(about["spec"])
        if spec.shape != reals.shape:
            raise RecipeError(f"{reals.name} has images of {described(reals.shape)}, but the game makes "
                              f"{described(spec.shape)}; set eval.data.path to images of that shape, or leave it out")
        if reals.labels is not None:
            matched_labels(spec, reals, str(folder))
        self.game, self.about, self.reals, self.inputs = game, about, reals, inputs or {}
        self.ranks, self.folder = ranks, folder
        weights = Path(settings.weights) if settings.weights else None
        self.extractor = extractors.load(settings.extractor, weights, settings.resize, ranks.device)
        self.settings = evaluation.Settings(evaluation.parse(settings.metrics), settings.num_samples,
                                            settings.num_reals, settings.batch_size)

    @torch.no_grad()
    def __call__(self, networks: Mapping[str, nn.Module], images: int) -> dict[str, float]:
        """The figures by name, from networks by export; the same on every rank."""
        if DECODER in self.game.fixed:
            networks = {**networks, self.game.default: Decoded(networks[self.game.default], self.game.fixed[DECODER])}
        generator = networks[self.game.default]
        generator.about = self.about
        samples, _ = samples_of(generator, self.settings.num_samples, self.reals, name=str(self.folder),
                                fakes=partial(self.game.fakes, networks), inputs=self.inputs)
        result = evaluation.evaluate(samples, self.reals, self.extractor, self.settings, self.ranks, show=False)
        if self.ranks.is_main:
            results.append(self.folder, {"images": images, "in_training": True, **result})
        return result["metrics"]

    def improved(self, best: dict[str, dict[str, Any]], figures: dict[str, float], images: int) -> bool:
        """Enters figures that are better than all before into `best`; returns whether there were any. Figures that an
        earlier session measured with other settings do not count."""
        found = {}
        for name, value in figures.items():
            known = best[name]["value"] if name in best and self._measured(best[name]["measure"]) else None
            if results.better(name, value, known):
                found[name] = {"value": value, "images": images, "measure": self.measure}
        best.update(found)
        return bool(found)

    def recorded(self, images: int) -> dict[str, float] | None:
        """The figures of an evaluation of this run at that many images, where it was finished."""
        rows = [row for row in results.read(self.folder) if row.get("in_training") and row["images"] == images]
        return rows[-1]["metrics"] if rows else None

    def _measured(self, measure: str) -> bool:
        """Whether a figure was measured so; earlier versions did not note against which images."""
        return measure in (self.measure, self.measure.rpartition(" ")[0])

    @property
    def measure(self) -> str:
        extractor = self.extractor
        sets = dict.fromkeys(each.content[:12] for each in (self.reals, *self.inputs.values()))
        return f"{extractor.name} {extractor.sha256[:12]} {extractor.resize} {self.settings.num_samples} " \
               f"{self.settings.num_reals} {'-'.join(sets)}"
