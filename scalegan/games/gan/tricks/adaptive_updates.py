"""The adaptive rule: more updates for the player whose loss is overwhelmingly higher."""

import torch

from scalegan.games.base import Game, Phase
from scalegan.games.gan.tricks import Trick
from scalegan.losses import Terms

_ADVERSARIAL = ("real", "fake", "pair")  # terms of the game itself, without penalties


class AdaptiveUpdates(Trick):
    """A player whose last loss L is positive and above `ratio` times the other's size moves `updates` times.

    Both losses are the last update's, over the global batch, and saved. Until both are known nobody is ahead.

    Args:
        ratio: what overwhelmingly means.
        updates: per iteration, of the player that lags.
    """

    def __init__(self, ratio: float = 3.0, updates: int = 5) -> None:
        super().__init__()
        self.ratio, self.updates = ratio, updates
        self.register_buffer("losses", torch.full((2,), torch.nan))  # of G and D

    def repeats(self, phase: Phase) -> int:
        if phase.name not in ("G", "D"):
            return phase.updates
        mine, others = self.losses.tolist() if phase.name == "G" else self.losses.flip(0).tolist()
        return self.updates if mine > self.ratio * abs(others) else phase.updates

    @torch.no_grad()
    def after(self, game: Game, phase: Phase, figures: Terms) -> None:
        if phase.name in ("G", "D"):
            loss = sum(figures[name] for name in _ADVERSARIAL if name in figures)
            self.losses["GD".index(phase.name)] = loss.to(self.losses.dtype)
