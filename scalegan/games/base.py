"""Building blocks of a game: players, phases, the batch passed to a phase's loss, and exports."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from scalegan.data.spec import Spec
from scalegan.data.vectors import VectorTable
from scalegan.games.sampling import generate
from scalegan.losses import Terms
from scalegan.randomness import Draws

if TYPE_CHECKING:
    from scalegan.augment import Augment
    from scalegan.config import Recipe

DECODER = "decoder"     # what turns latents to images, among a game's fixed networks and an export's parts
_TRIES = 8      # draws in which to find a condition that differs


@dataclass(frozen=True)
class Sample:
    """Samples of one stream.

    Args:
        data: images [n, C, H, W] in [-1, 1], points [n, 2], or volumes [n, 1, D, H, W] in [0, 1].
        condition: classes [n], attributes [n, K] or vectors [n, dim]; or None.
        record: index of each sample in its dataset, int64 [n] on the CPU; or None.
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
        streams: samples by stream, in the game's order.
        draws: random numbers for the micro-batch, keyed by phase and position.
        tables: conditions of all records, by stream.
        images: real images taken before this iteration, for schedules.
        figures: further figures that a loss adds to the log; means over the micro-batch.
        given: conditions by stream that `condition` returns instead of drawing them.
    """

    streams: Mapping[str, Sample]
    draws: Draws
    tables: Mapping[str, Tensor | VectorTable] = field(default_factory=dict)
    images: int = 0
    figures: Terms = field(default_factory=dict)
    given: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, reals: Tensor, draws: Draws, condition: Tensor | None = None, fake_condition: Tensor | None = None,
           images: int = 0) -> "Batch":
        """A batch for a game with a single stream, `real`."""
        given = {} if fake_condition is None else {"real": fake_condition}
        return cls({"real": Sample(reals, condition)}, draws, images=images, given=given)

    def __len__(self) -> int:
        return len(self.draws)

    def __getitem__(self, part: slice) -> "Batch":
        return Batch({name: sample[part] for name, sample in self.streams.items()}, self.draws[part], self.tables,
                     self.images, given={name: condition[part] for name, condition in self.given.items()})

    @property
    def first(self) -> str:
        """The name of the game's first stream."""
        return next(iter(self.streams))

    @property
    def reals(self) -> Tensor:
        """Data of the first stream."""
        return self.streams[self.first].data

    @property
    def labels(self) -> Tensor | None:
        """Conditions of the first stream."""
        return self.streams[self.first].condition

    def condition(self, stream: str | None = None, different: bool = False) -> Tensor | None:
        """Conditions for fakes, [n] or [n, K], taken from random records and so from the data's own distribution.

        Args:
            stream: the stream to take them from; the first by default.
            different: make each differ from its sample's own condition, if one of eight draws does; vectors are then
                of another record.
        """
        stream = stream or self.first
        if stream in self.given:
            return self.given[stream]
        if stream not in self.tables:
            return None
        table, name = self.tables[stream], "fake_label" if stream == self.first else f"fake_label/{stream}"
        if isinstance(table, VectorTable):
            own = self.streams[stream]
            return table.of_others(own.condition, own.record, self.draws, f"{name}/different") if different else \
                table.drawn(self.draws, name)
        if not different:
            return table[self.draws.integers(name, len(table))]
        candidates = table[self.draws.integers(f"{name}/different", len(table), _TRIES)]    # [n, tries, ...]
        apart = (candidates != self.streams[stream].condition[:, None]).flatten(2).any(2) if candidates.dim() > 2 else \
            candidates != self.streams[stream].condition[:, None]
        chosen = apart.int().argmax(1)
        return candidates[torch.arange(len(candidates), device=candidates.device), chosen]


@dataclass(frozen=True)
class Phase:
    """One move of the game: `players` minimise the sum of the terms that `loss` returns; all others are frozen.

    Args:
        name: prefix of its figures in the log and key of its draws, such as "D", "D.r1" or "G".
        players: the players that move.
        loss: function from a batch to named scalar terms, each a mean over the samples.
        updates: updates per iteration.
        fresh_batch: take a new batch from the streams for each update instead of reusing the last one.
        every: for a lazy penalty: moves once per `every` updates of its main phase.
        main_updates: for a lazy penalty: the main phase's updates per iteration, as `scalegan plan` assumes them.
        main: for a lazy penalty: the main phase's name; by default the part of `name` before the dot.
        step_with: a later phase of the iteration, with other players: both compute their gradients before either
            steps. A phase with `step_with` has one update per iteration, whatever `repeats` returns.
        between: (start, end) in images: the phase moves from `start` until `end`, or for ever if `end` is None.
        draws: another phase, whose last update's draws (latents, codes) this one reuses.
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

    def due(self, images: int, before: int, now: int) -> int:
        """How often the phase moves in this iteration, 0 if it does not; of all but lazy penalties, 1 stands for as
        often as `Game.repeats` says.

        Args:
            images: real images taken before this iteration.
            before, now: for a lazy penalty: updates of the main phase before this iteration, and so far. An update
                that was skipped because a value was not finite counts, as it does for the draws.
        """
        start, end = self.between
        if images < start or (end is not None and images >= end):
            return 0
        return 1 if self.every == 1 else -(-now // self.every) - -(-before // self.every)

    @property
    def of(self) -> str:
        """Name of a lazy penalty's main phase; otherwise the phase's own name."""
        return self.main or (self.name.partition(".")[0] if self.every > 1 else self.name)


@dataclass(frozen=True)
class Export:
    """A network that a game offers to `scalegan export`, `scalegan.load` and other commands.

    Args:
        players: players it consists of; several are composed in this order.
        inputs: its inputs, in order: "z", "condition", "image", "grey", "low", ...
        output: its output: "image", "volume", "points", "vector" or "logits".
        averaged: use the moving averages of the weights.
    """

    players: tuple[str, ...]
    inputs: tuple[str, ...] = ("z", "condition")
    output: str = "image"
    averaged: bool = True


@dataclass(frozen=True)
class Preview:
    """Inputs for a picture, or for a figure over held-out data.

    Args:
        draws: random numbers for `count` samples.
        conditions: conditions by stream; for classes, unless others were requested, column i shows class i.
        columns: columns of the picture.
        real: returns `count` samples of every stream, as the networks see them; called only if they are needed.
        psi: truncation.
        noise: for style-based generators: "const", or "random" from the draws.
        at_once: how many samples to generate at once; None for all.
    """

    draws: Draws
    conditions: Mapping[str, Tensor | None] = field(default_factory=dict)
    columns: int = 8
    real: Callable[[], Mapping[str, Sample]] = dict
    psi: float = 1.0
    noise: str = "const"
    at_once: int | None = None

    @property
    def count(self) -> int:
        """Number of samples."""
        return len(self.draws)

    def __getitem__(self, part: slice) -> "Preview":
        conditions = {name: None if given is None else given[part] for name, given in self.conditions.items()}
        return replace(self, draws=self.draws[part], conditions=conditions,
                       real=lambda: {name: sample[part] for name, sample in self.samples.items()})

    def in_parts(self, work: Callable[["Preview"], Tensor]) -> Tensor:
        """`work` of this preview, a part of its samples at a time."""
        size = self.at_once or self.count
        if size >= self.count:
            return work(self)
        return torch.cat([work(self[first : first + size]) for first in range(0, self.count, size)])

    @cached_property
    def samples(self) -> Mapping[str, Sample]:
        """Real samples of every stream, `count` of each."""
        return self.real()

    @property
    def condition(self) -> Tensor | None:
        """Conditions of the first stream."""
        return next(iter(self.conditions.values()), None)


class Game(nn.Module):
    """The players, their phases and the exports; independent of device, rank, precision and files.

    Subclasses are built by `make`. Their __init__ sets the networks as attributes, and:
        players: networks by player; they partition the parameters, and each has an optimizer.
        phases: the moves of an iteration, in order; the first takes a fresh batch.
        compiled: what to call for each player if nothing is differentiated twice: the network, or a compiled version.
        exports: exported networks, by name.
        default: the export that `scalegan.load` returns if none is named.
        target: the stream that `fakes` are compared with; the first if empty.
        fixed: frozen networks that losses use; not in checkpoints, but their digests are part of the run's identity.
        by_forward: players whose networks every phase calls through `forward` alone, and differentiates once; engines
            may then gather their weights block by block.
        bounds: bound by player: its weights are clipped to [-bound, bound] after each of its updates.
        augment: what is applied to images before D sees them, for games that call `augmented`.
    """

    players: dict[str, nn.Module]
    compiled: Mapping[str, Callable]
    phases: list[Phase]
    exports: Mapping[str, Export] = MappingProxyType({"G": Export(("G",))})
    default: str = "G"
    target: str = ""
    fixed: Mapping[str, nn.Module] = MappingProxyType({})
    bounds: Mapping[str, float] = MappingProxyType({})
    by_forward: frozenset[str] = frozenset()
    augment: "Augment"

    @classmethod
    def make(cls, recipe: "Recipe", specs: Mapping[str, Spec]) -> "Game":
        """Builds a recipe's game for streams with these specs.

        Raises:
            RecipeError: if the recipe's networks do not fit each other or the samples.
        """
        raise TypeError(f"{cls.__name__} must implement make()")

    @classmethod
    def player(cls, recipe: "Recipe", specs: Mapping[str, Spec], name: str) -> nn.Module:
        """Builds a single player, for `scalegan.load`."""
        return cls.make(recipe, specs).players[name]

    @classmethod
    def compose(cls, export: Export, parts: Sequence[nn.Module]) -> nn.Module:
        """Composes an export from its players' networks: each takes the output of the one before."""
        return parts[0] if len(parts) == 1 else nn.Sequential(*parts)

    def augmented(self, images: Tensor, batch: Batch, side: str) -> Tensor:
        """Images [n, C, H, W] as D sees them, with draws of their own for every `side`, such as "real" and "fake"."""
        return self.augment(images, batch.draws.of(f"augment/{side}"), batch.images)

    @property
    def averaged(self) -> tuple[str, ...]:
        """Players whose moving averages are kept, the default export's first."""
        ordered = [self.exports[self.default], *self.exports.values()]
        return tuple(dict.fromkeys(player for export in ordered if export.averaged for player in export.players))

    @torch.no_grad()
    def draw(self, networks: Mapping[str, nn.Module], preview: Preview) -> Mapping[str, Tensor]:
        """The run's picture, by column: images [count, C, H, W] or points [count, 2]; a single column makes a grid.

        Args:
            networks: networks by export.
        """
        return {"samples": preview.in_parts(lambda part: self.fakes(networks, part))}

    @torch.no_grad()
    def fakes(self, networks: Mapping[str, nn.Module], preview: Preview) -> Tensor:
        """Samples for evaluation, [count, ...], from the default export."""
        return generate(networks[self.default], preview.draws, preview.condition, preview.psi, preview.noise)

    def cycles(self, networks: Mapping[str, nn.Module], preview: Preview) -> Mapping[str, tuple[Tensor, Tensor]]:
        """Images [count, C, H, W] in [-1, 1] of each stream, and these translated there and back, for games that
        translate between two domains."""
        raise TypeError(f"{type(self).__name__} does not translate there and back")

    def decode(self, images: Tensor) -> Tensor:
        """Decodes what the game generates to images, where it generates latents: then a decoder is among `fixed`."""
        return self.fixed[DECODER](images) if DECODER in self.fixed else images

    def repeats(self, phase: Phase) -> int:
        """Number of updates of a phase in this iteration; the same on all ranks."""
        return phase.updates

    def after(self, phase: Phase, figures: Terms) -> None:
        """Called after each update, with its terms and figures as means over the global batch."""

    def _apply(self, fn: Callable, recurse: bool = True) -> Any:
        """Includes the frozen networks, which are not registered as submodules."""
        for network in self.fixed.values():
            network._apply(fn, recurse)
        return super()._apply(fn, recurse)
