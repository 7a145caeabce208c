"""The gradient penalty of WGAN-GP (Gulrajani et al., 2017, section 4)."""

from scalegan import penalties
from scalegan.games.base import Game
from scalegan.games.penalties import Look, Penalty
from scalegan.losses import Terms


class GradientPenalty(Penalty):
    """D's slope is kept at 1 on lines from fakes to reals: lambda E (|grad D| - 1)^2, in every update of D."""

    def __init__(self, weight: float = 10.0) -> None:
        super().__init__()
        self.weight = weight

    def of_discriminator(self, game: Game, look: Look) -> Terms:
        share = look.batch.draws.uniform("between")
        points = penalties.between(look.real.augmented, look.fake.augmented, share)
        logits = game.D(points, look.batch.labels)
        return {"gradient_penalty": penalties.gradient_penalty(logits, points, self.weight)}
