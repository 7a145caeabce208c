"""More updates per iteration for the phase whose loss is far higher."""

from collections.abc import Sequence

import torch
from torch import nn

from scalegan.games.base import Phase
from scalegan.losses import Terms


class AdaptiveUpdates(nn.Module):
    """Gives one of two phases `updates` updates if its last loss is positive and more than `ratio` times the magnitude
    of the other's.

    Both losses are those of the last update, over the global batch, and are saved. Until both are known, neither phase
    gets more.

    Args:
        ratio: how much higher a loss must be.
        updates: updates per iteration of the phase that lags behind, if it has not more anyway.
        phases: names of the two phases.
        terms: terms of their losses that are compared: the game itself, without penalties.
    """

    def __init__(self, ratio: float = 3.0, updates: int = 5, phases: tuple[str, str] = ("G", "D"),
                 terms: Sequence[str] = ("real", "fake", "pair")) -> None:
        super().__init__()
        self.ratio, self.updates, self.phases, self.terms = ratio, updates, phases, terms
        self.register_buffer("losses", torch.full((2,), torch.nan))

    def repeats(self, phase: Phase) -> int:
        """Number of updates of a phase in this iteration."""
        if phase.name not in self.phases:
            return phase.updates
        losses = self.losses.tolist()
        mine = self.phases.index(phase.name)
        behind = losses[mine] > self.ratio * abs(losses[1 - mine])
        return max(self.updates, phase.updates) if behind else phase.updates

    @torch.no_grad()
    def after(self, phase: Phase, figures: Terms) -> None:
        """Records the loss; to be called after every update."""
        if phase.name in self.phases:
            loss = sum(figures[name] for name in self.terms if name in figures)
            self.losses[self.phases.index(phase.name)] = loss.to(self.losses.dtype)
