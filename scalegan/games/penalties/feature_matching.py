"""Feature matching (Salimans et al., 2016, section 3.1)."""

from torch import Tensor

from scalegan import penalties
from scalegan.games.base import Batch, Game
from scalegan.games.penalties import Penalty
from scalegan.losses import Terms


class FeatureMatching(Penalty):
    """Adds |E f(x) - E f(G(z))|^2 to G's loss: the mean of D's last features f over fakes should match that over reals.

    Args:
        weight: weight of the term.
        group: consecutive samples whose means are compared.
    """

    needs_whole = frozenset({"D"})

    def __init__(self, weight: float = 1.0, group: int = 16) -> None:
        super().__init__()
        self.weight, self.group = weight, group

    def generator_terms(self, game: Game, batch: Batch, fakes: Tensor, condition: Tensor | None) -> Terms:
        of_reals = game.D.encode(game.augmented(batch.reals, batch, "real"), batch.labels).detach()
        of_fakes = game.D.encode(fakes, condition)
        return {"feature_matching": self.weight * penalties.feature_matching(of_fakes, of_reals, self.group)}
