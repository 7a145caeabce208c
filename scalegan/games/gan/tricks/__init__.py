"""Tricks that combine with any objective, one per file."""

from torch import Tensor, nn

from scalegan.games.base import Game, Phase
from scalegan.losses import Terms


class Trick(nn.Module):
    """What a trick can add to the two-player game; each says only what it changes. Its buffers are saved with the run.

    `game` has the networks G and D; `batch` is a grain; reals and fakes [n, ...] are as D sees them.
    """

    def judge(self, game: Game, batch, reals: Tensor, fakes: Tensor) -> Terms:
        """Further terms of D's phase."""
        return {}

    def forge(self, game: Game, batch, fakes: Tensor) -> Terms:
        """Further terms of G's phase."""
        return {}

    def repeats(self, phase: Phase) -> int:
        """How often a phase moves in this iteration."""
        return phase.updates

    def after(self, game: Game, phase: Phase, figures: Terms) -> None:
        """Told of an update, with its terms as means over the global batch: the same on all ranks."""
