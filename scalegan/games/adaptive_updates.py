"""The adaptive rule: more updates for the phase whose loss is overwhelmingly higher."""

from collections.abc import Sequence

import torch
from torch import nn

from scalegan.games.base import Phase
from scalegan.losses import Terms


class AdaptiveUpdates(nn.Module):
    """Of two phases, the one whose last loss L is positive and above `ratio` times the other's size moves `updates`
    times.

    Both losses are the last update's, over the global batch, and saved. Until both are known nobody is ahead.

    Args:
        ratio: what overwhelmingly means.
        updates: per iteration, of the phase that lags.
        phases: the two, by name.
        terms: of their losses, those that are weighed: the game itself, without penalties.
    """

    def __init__(self, ratio: float = 3.0, updates: int = 5, phases: tuple[str, str] = ("G", "D"),
                 terms: Sequence[str] = ("real", "fake", "pair")) -> None:
        super().__init__()
        self.ratio, self.updates, self.phases, self.terms = ratio, updates, phases, terms
        self.register_buffer("losses", torch.full((2,), torch.nan))

    def repeats(self, phase: Phase) -> int:
        """How often a phase moves in this iteration."""
        if phase.name not in self.phases:
            return phase.updates
        losses = self.losses.tolist()
        mine = self.phases.index(phase.name)
        return self.updates if losses[mine] > self.ratio * abs(losses[1 - mine]) else phase.updates

    @torch.no_grad()
    def after(self, phase: Phase, figures: Terms) -> None:
        """To be told of every update."""
        if phase.name in self.phases:
            loss = sum(figures[name] for name in self.terms if name in figures)
            self.losses[self.phases.index(phase.name)] = loss.to(self.losses.dtype)
