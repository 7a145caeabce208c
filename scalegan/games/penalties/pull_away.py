"""The pull-away term of EBGAN-PT (Zhao, Mathieu & LeCun, 2017, section 2.4)."""

from torch import Tensor

from scalegan import penalties
from scalegan.games.base import Batch, Game
from scalegan.games.penalties import Penalty
from scalegan.losses import Terms


class PullAway(Penalty):
    """Pushes the encodings of G's fakes apart: `weight` times their mean squared cosine over pairs i != j.

    Args:
        weight: 0.1 in the paper.
        group: consecutive samples that are paired with each other.
    """

    needs_whole = frozenset({"D"})

    def __init__(self, weight: float = 0.1, group: int = 16) -> None:
        super().__init__()
        self.weight, self.group = weight, group

    def generator_terms(self, game: Game, batch: Batch, fakes: Tensor, condition: Tensor | None) -> Terms:
        return {"pull_away": self.weight * penalties.pull_away(game.D.encode(fakes, condition), self.group)}
