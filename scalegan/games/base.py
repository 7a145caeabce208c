"""What a game is made of: players, phases, the batch that a phase's loss is given, and what leaves the game."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from scalegan.data.spec import Spec
from scalegan.games.sampling import generate
from scalegan.losses import Terms
from scalegan.randomness import Draws

if TYPE_CHECKING:
    from scalegan.config import Recipe

_TRIES = 8      # draws for a condition that differs


@dataclass(frozen=True)
class Sample:
    """Samples of one stream.

    Args:
        data: images [n, C, H, W] in [-1, 1], or points [n, 2].
        condition: classes [n], attributes [n, K] or vectors [n, dim] of each; or None.
        record: number of each in its set, int64 [n] on the CPU; or None.
    """

    data: Tensor
    condition: Tensor | None = None
    record: Tensor | None = None

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, part: slice) -> "Sample":
        return Sample(self.data[part], *(None if t is None else t[part] for t in (self.condition, self.record)))


@dataclass(frozen=True)
class Batch:
    """The samples of one micro-batch, as a phase sees them.

    Args:
        streams: samples by stream, the game's first first.
        draws: random numbers of the micro-batch, keyed by phase and position.
        tables: by stream, the conditions of all its records.
        images: real images taken before this batch, for schedules.
        figures: what a loss wants to see in the log beside its terms; means over the micro-batch.
        given: by stream, conditions that `condition` returns in place of drawn ones.
    """

    streams: Mapping[str, Sample]
    draws: Draws
    tables: Mapping[str, Tensor] = field(default_factory=dict)
    images: int = 0
    figures: Terms = field(default_factory=dict)
    given: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, reals: Tensor, draws: Draws, condition: Tensor | None = None, fake_condition: Tensor | None = None,
           images: int = 0) -> "Batch":
        """The batch of a game with one stream, `real`."""
        given = {} if fake_condition is None else {"real": fake_condition}
        return cls({"real": Sample(reals, condition)}, draws, images=images, given=given)

    def __len__(self) -> int:
        return len(self.draws)

    def __getitem__(self, part: slice) -> "Batch":
        return Batch({name: sample[part] for name, sample in self.streams.items()},
                     replace(self.draws, positions=self.draws.positions[part]), self.tables, self.images,
                     given={name: condition[part] for name, condition in self.given.items()})

    @property
    def first(self) -> str:
        """The name of the game's first stream."""
        return next(iter(self.streams))

    @property
    def reals(self) -> Tensor:
        """Samples of the first stream."""
        return self.streams[self.first].data

    @property
    def labels(self) -> Tensor | None:
        """Their conditions."""
        return self.streams[self.first].condition

    def condition(self, stream: str | None = None, different: bool = False) -> Tensor | None:
        """Conditions for fakes, [n] or [n, K]: those of records drawn at random, so from the data's own distribution.

        Args:
            stream: whose; the first one's by default.
            different: each is to differ from its sample's own, as far as eight draws find one that does.
        """
        stream = stream or self.first
        if stream in self.given:
            return self.given[stream]
        if stream not in self.tables:
            return None
        table, name = self.tables[stream], "fake_label" if stream == self.first else f"fake_label/{stream}"
        if not different:
            return table[self.draws.integers(name, len(table))]
        candidates = table[self.draws.integers(f"{name}/different", len(table), _TRIES)]    # [n, tries, ...]
        apart = (candidates != self.streams[stream].condition[:, None]).flatten(2).any(2) if candidates.dim() > 2 else \
            candidates != self.streams[stream].condition[:, None]
        chosen = apart.int().argmax(1)
        return candidates[torch.arange(len(candidates), device=candidates.device), chosen]


@dataclass(frozen=True)
class Phase:
    """One move of the game: `players` minimise the sum of what `loss` returns, all others are frozen.

    Args:
        name: prefix of its figures in the log, and key of its draws: "D", "D.r1", "G".
        players: who moves.
        loss: named scalar terms of a batch, each a mean over the samples.
        updates: updates per iteration.
        fresh_batch: take a batch from the streams for each update, or share the last one.
        every: of a lazy penalty: moves once per `every` updates of its player's main phase.
        main_updates: of a lazy penalty: the main phase's updates per iteration, as `scalegan plan` is to take them.
        main: of a lazy penalty: the main phase's name; what stands before the dot of its own by default.
        step_with: a later phase of the iteration, of other players: gradients of both are taken before either steps.
            It has one update an iteration, whatever `repeats` says.
        between: (start, end) in images: it moves from `start` on, until `end`; an end of None never comes.
        draws: another phase, whose last update's draws this one sees: its latents and codes.
    """

    name: str
    players: tuple[str, ...]
    loss: Callable[[Batch], Terms]
    updates: int = 1
    fresh_batch: bool = True
    every: int = 1
    main_updates: int = 1
    main: str = ""
    step_with: str = ""
    between: tuple[int, int | None] = (0, None)
    draws: str = ""

    def due(self, images: int, before: int, now: int) -> bool:
        """Whether it moves in this iteration.

        Args:
            images: taken before this iteration.
            before, now: of a lazy penalty: updates of the main phase before this iteration, and by now. One that was
                skipped because something was not finite counts, as it does for the draws.
        """
        start, end = self.between
        if images < start or (end is not None and images >= end):
            return False
        return self.every == 1 or -(-before // self.every) * self.every < now

    @property
    def of(self) -> str:
        """The main phase of a lazy penalty; itself otherwise."""
        return self.main or (self.name.partition(".")[0] if self.every > 1 else self.name)


@dataclass(frozen=True)
class Export:
    """A network that leaves the game: for `export`, `load`, and commands.

    Args:
        players: whose weights it has; of several, composed in this order.
        inputs: what it takes, in order: "z", "condition", "image", "grey", "low", ...
        output: what it gives: "image", "volume", "points", "vector" or "logits".
        averaged: with the moving averages of these weights.
    """

    players: tuple[str, ...]
    inputs: tuple[str, ...] = ("z", "condition")
    output: str = "image"
    averaged: bool = True


@dataclass(frozen=True)
class Preview:
    """What a picture, or a figure over held-out data, is made of.

    Args:
        draws: of `count` samples.
        conditions: by stream; where there are classes and nothing else was asked for, column i shows class i.
        columns: that the picture has.
        real: gives `count` samples of every stream, as the networks see them; only asked where they are needed.
        psi: truncation.
        noise: of style-based generators: "const", or "random" from the draws.
    """

    draws: Draws
    conditions: Mapping[str, Tensor | None] = field(default_factory=dict)
    columns: int = 8
    real: Callable[[], Mapping[str, Sample]] = dict
    psi: float = 1.0
    noise: str = "const"

    @property
    def count(self) -> int:
        return len(self.draws)

    @cached_property
    def samples(self) -> Mapping[str, Sample]:
        return self.real()

    @property
    def condition(self) -> Tensor | None:
        """Conditions of the first stream."""
        return next(iter(self.conditions.values()), None)


class Game(nn.Module):
    """The players, their phases, and what leaves the game. Knows no device, rank, precision or file.

    A subclass is made by `make`, and sets, in __init__, its networks as attributes and:
        players: networks by player; they partition the parameters, and each has an optimizer.
        phases: the moves of an iteration, in order; the first takes a fresh batch.
        compiled: the players as they are called where nothing is differentiated twice: themselves, or compiled.
        exports: networks that leave the game, by name.
        default: the export that `scalegan.load` gives where none is named.
        target: the stream that `fakes` are held against; the first one where it is empty.
        fixed: frozen networks that losses use; never in a checkpoint, their digests are part of the run's identity.
        bounds: of players whose weights are cut back to [-bound, bound] after each of their updates.
    """

    players: dict[str, nn.Module]
    compiled: Mapping[str, Callable]
    phases: list[Phase]
    exports: Mapping[str, Export] = MappingProxyType({"G": Export(("G",))})
    default: str = "G"
    target: str = ""
    fixed: Mapping[str, nn.Module] = MappingProxyType({})
    bounds: Mapping[str, float] = MappingProxyType({})

    @classmethod
    def make(cls, recipe: "Recipe", specs: Mapping[str, Spec]) -> "Game":
        """The whole game of a recipe over streams of these samples.

        Raises:
            RecipeError: where the recipe's networks do not fit each other or the samples.
        """
        raise TypeError(f"{cls.__name__} does not say how it is made of a recipe")

    @classmethod
    def player(cls, recipe: "Recipe", specs: Mapping[str, Spec], name: str) -> nn.Module:
        """One player alone, for `load`."""
        return cls.make(recipe, specs).players[name]

    @classmethod
    def compose(cls, export: Export, parts: Sequence[nn.Module]) -> nn.Module:
        """The network of an export from its players': each takes what the one before it gives."""
        return parts[0] if len(parts) == 1 else nn.Sequential(*parts)

    @property
    def averaged(self) -> tuple[str, ...]:
        """Players whose moving averages are kept, the default export's first."""
        ordered = [self.exports[self.default], *self.exports.values()]
        return tuple(dict.fromkeys(player for export in ordered if export.averaged for player in export.players))

    @torch.no_grad()
    def draw(self, networks: Mapping[str, nn.Module], preview: Preview) -> Mapping[str, Tensor]:
        """The run's picture, by column: images [count, C, H, W] or points [count, 2]; a grid where there is but one.

        Args:
            networks: by export.
        """
        return {"samples": self.fakes(networks, preview)}

    @torch.no_grad()
    def fakes(self, networks: Mapping[str, nn.Module], preview: Preview) -> Tensor:
        """What evaluations measure, [count, ...]: samples of the default export."""
        return generate(networks[self.default], preview.draws, preview.condition, preview.psi, preview.noise)

    def decode(self, images: Tensor) -> Tensor:
        """Pictures of what the game makes, where that is latents."""
        return images

    def repeats(self, phase: Phase) -> int:
        """How often a phase moves in this iteration; the same on all ranks."""
        return phase.updates

    def after(self, phase: Phase, figures: Terms) -> None:
        """Told of each update, with its terms and figures as means over the global batch."""

    def _apply(self, fn: Callable, recurse: bool = True) -> Any:
        """Moves frozen networks too, which are no modules of the game's."""
        for network in self.fixed.values():
            network._apply(fn, recurse)
        return super()._apply(fn, recurse)
