"""The run's picture."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from scalegan.config import Recipe
from scalegan.data.opening import Source
from scalegan.data.pixels import LEVELS, from_levels
from scalegan.data.spec import Spec
from scalegan.data.vectors import VectorTable
from scalegan.games.base import Game, Preview, Sample
from scalegan.games.sampling import at_once
from scalegan.pictures import grids
from scalegan.pictures.voxels import views_of
from scalegan.randomness import Draws
from scalegan.support.files import write_whole

_POINTS = 2500


class Painter:
    """Draws what the game shows of itself, always from the same draws, conditions and samples.

    Args:
        sources: the game's streams, the first of which says what samples are.
    """

    def __init__(self, recipe: Recipe, game: Game, sources: Mapping[str, Source], device: torch.device) -> None:
        self.recipe, self.game, self.sources, self.device = recipe, game, sources, device
        self.columns, self.first = recipe.snapshot.columns, next(iter(sources))
        points = sources[self.first].spec.kind == "points"
        self.count = _POINTS if points else recipe.snapshot.rows * self.columns
        self.captions: list[str] = []       # of the picture's columns
        draws = Draws(recipe.seed, 0, "snapshot", torch.arange(self.count, device=device))
        conditions = {name: self._conditions(source, draws) for name, source in sources.items()}
        self.preview = Preview(draws, conditions, self.columns, self._samples,
                               at_once=at_once(sources[self.first].spec.decoded.shape))

    def samples(self, networks: Mapping[str, nn.Module], path: Path) -> Tensor:
        """Draws the picture of a game's exports, and returns samples [N, ...]."""
        drawn = dict(self.game.draw(networks, self.preview))
        first = next(iter(drawn.values()))
        pictures = views_of({name: self._decoded(images) for name, images in drawn.items()})
        if first.dim() == 2:
            grids.save_points(path, first, self._stored(self.first))
        elif len(pictures) == 1:
            grids.save_grid(path, next(iter(pictures.values())), self.columns)
        else:
            grids.save_columns(path, pictures)
            if len(drawn) == 1:
                return first
            return self.preview.in_parts(lambda part: self.game.fakes(networks, part))
        return first

    def reals(self, path: Path) -> None:
        """The first images of the run, of the same number; and beside them, in `captions.txt`, what the columns of all
        pictures are drawn from, if that is texts."""
        if self.captions:
            lines = [f"column {number}: {text}\n" for number, text in enumerate(self.captions, start=1)]
            write_whole(path.with_name("captions.txt"), "".join(lines))
        reals = self._seen(self.first)
        if self.sources[self.first].spec.kind == "latent":
            reals = self._decoded(reals.to(self.device))
        if reals.dim() == 5:
            grids.save_columns(path, views_of({"reals": reals}))
        if reals.dim() == 4:
            grids.save_grid(path, reals, self.columns)

    @torch.no_grad()
    def _decoded(self, drawn: Tensor) -> Tensor:
        parts = [self.game.decode(part) for part in drawn.split(self.preview.at_once)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _conditions(self, source: Source, draws: Draws) -> Tensor | None:
        spec: Spec = source.spec
        if spec.classes:
            return torch.arange(self.count, device=self.device) % self.columns % spec.classes
        if source.conditions is None:
            return None
        if isinstance(source.conditions, VectorTable):
            return source.conditions.vectors[self._captioned(source, draws)].to(self.device)
        chosen = draws.integers("label", len(source.conditions)).cpu()
        return source.conditions[chosen].to(self.device)

    def _captioned(self, source: Source, draws: Draws) -> Tensor:
        """The places of captions: one for each column of the picture."""
        of_columns = Draws(draws.seed, 0, "snapshot", torch.arange(self.columns))
        rows = source.conditions.rows[of_columns.integers("label", len(source.conditions))]
        places = source.conditions.places(rows, of_columns, "which")
        if source.captions:
            self.captions = [source.captions.texts[place] for place in places.tolist()]
        return places[torch.arange(self.count) % self.columns]

    def _samples(self) -> dict[str, Sample]:
        """The first samples of every stream, as networks see them, without flips; over again where there are fewer."""
        found = {}
        for name in self.sources:
            data, labels = self._seen(name).to(self.device), self._labels(name)
            places = torch.arange(self.count, device=self.device) % len(data)
            found[name] = Sample(data[places], None if labels is None else labels[places])
        return found

    def _seen(self, stream: str) -> Tensor:
        """Stored samples as networks see them; of latents the means."""
        stored, latents = self._stored(stream), self.sources[stream].spec.latents
        if latents is not None:
            return latents.drawn(stored[:, 0])
        return from_levels(stored) if stored.dtype in LEVELS else stored

    def _stored(self, stream: str) -> Tensor:
        return torch.cat([samples for samples, _ in self._chunks(stream)])[: self.count]

    def _labels(self, stream: str) -> Tensor | None:
        labels = [label for _, label in self._chunks(stream)]
        return None if labels[0] is None else torch.cat(labels)[: self.count].to(self.device)

    def _chunks(self, stream: str) -> list[tuple[Tensor, Tensor | None]]:
        records = self.sources[stream].records
        order, taken, position = records.order, [], 0
        while sum(len(samples) for samples, _ in taken) < self.count and (
                not taken or position + order.batch_size <= order.records):
            taken += [records.chunk(position, lane) for lane in range(order.lanes)]
            position += order.batch_size
        return taken
