"""The gradient penalty of WGAN-GP (Gulrajani et al., 2017, section 4)."""

from scalegan import penalties
from scalegan.games.base import Game
from scalegan.games.penalties import DiscriminatorPass, Penalty, squared_gradients
from scalegan.losses import Terms


class GradientPenalty(Penalty):
    """lambda E (|grad D| - 1)^2 in every update of D: keeps D's slope near 1 on lines from fakes to reals.

    The two ends of a line have the same condition, as in the published conditional code.
    """

    needs_whole = frozenset({"D"})
    pairs = True

    def __init__(self, weight: float = 10.0) -> None:
        super().__init__()
        self.weight = weight

    def discriminator_terms(self, game: Game, d_pass: DiscriminatorPass) -> Terms:
        share = d_pass.batch.draws.uniform("between")
        points = penalties.between(d_pass.real.augmented, d_pass.fake.augmented, share)
        squares = squared_gradients(game, points, points, d_pass.batch.labels)
        return {"gradient_penalty": penalties.one_lipschitz(squares, self.weight)}
