"""What a game is made of: players, phases, and the batch that a phase's loss is given."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from torch import Tensor, nn

from scalegan.losses import Terms
from scalegan.randomness import Draws


@dataclass(frozen=True)
class Batch:
    """The samples of one grain, as a phase sees them.

    Args:
        reals: real images [n, C, H, W] in [-1, 1], or points [n, 2].
        labels: of the reals: classes [n], attributes [n, K], or None.
        fake_labels: drawn from the data's own labels, or None.
        draws: the grain's random numbers, keyed by phase and position.
        images: real images taken before this batch, for schedules.
        figures: what a loss wants to see in the log beside its terms; means over the grain.
    """

    reals: Tensor
    labels: Tensor | None
    fake_labels: Tensor | None
    draws: Draws
    images: int = 0
    figures: Terms = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.reals)

    def __getitem__(self, grain: slice) -> "Batch":
        def cut(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor[grain]
        return Batch(self.reals[grain], cut(self.labels), cut(self.fake_labels),
                     replace(self.draws, positions=self.draws.positions[grain]), self.images)


@dataclass(frozen=True)
class Phase:
    """One move of the game: `players` minimise the sum of what `loss` returns, all others are frozen.

    Args:
        name: prefix of its figures in the log, and key of its draws: "D", "D.r1", "G".
        players: who moves.
        loss: named scalar terms of a batch, each a mean over the samples.
        updates: updates per iteration.
        fresh_batch: take a batch from the stream for each update, or share the last one.
        every: of a lazy penalty: moves once per `every` updates of its player's main phase.
        main_updates: of a lazy penalty: the main phase's updates per iteration.
    """

    name: str
    players: tuple[str, ...]
    loss: Callable[[Batch], Terms]
    updates: int = 1
    fresh_batch: bool = True
    every: int = 1
    main_updates: int = 1

    def due(self, iterations: int) -> bool:
        """Whether this iteration's main updates, counted from 0, hold a multiple of `every`."""
        done = iterations * self.main_updates
        return -(-done // self.every) * self.every < done + self.main_updates


class Game(nn.Module):
    """The players, their phases, and how to sample. Knows no device, rank, precision or file.

    A subclass sets, in __init__, its networks as attributes and:
        players: networks by player; they partition the parameters, and each player has an optimizer.
        phases: the moves of an iteration, in order; the first takes a fresh batch.
        quick: the players as they are called where nothing is differentiated twice: themselves, or compiled.
        averaged: name of the player whose moving average is kept and sampled from.
        bounds: of players whose weights are cut back to [-bound, bound] after each of their updates.
    """

    players: dict[str, nn.Module]
    quick: Mapping[str, Callable]
    phases: list[Phase]
    averaged: str = "G"
    bounds: Mapping[str, float] = MappingProxyType({})

    def repeats(self, phase: Phase) -> int:
        """How often a phase moves in this iteration; the same on all ranks."""
        return phase.updates

    def after(self, phase: Phase, figures: Terms) -> None:
        """Told of each update, with its terms and figures as means over the global batch."""


def latents(generator: nn.Module, draws: Draws) -> Tensor:
    """z [n, latent_dim] of the distribution that the generator names: normal, or uniform in [-1, 1]."""
    if generator.latent == "uniform":
        return draws.uniform("z", generator.latent_dim) * 2 - 1
    return draws.normal("z", generator.latent_dim)
