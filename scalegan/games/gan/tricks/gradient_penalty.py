"""The gradient penalty of WGAN-GP (Gulrajani et al., 2017, section 4)."""

from torch import Tensor, nn

from scalegan import penalties
from scalegan.games.base import Batch
from scalegan.games.gan.tricks import Trick
from scalegan.losses import Terms


class GradientPenalty(Trick):
    """D's slope is kept at 1 on lines from fakes to reals: lambda E (|grad D| - 1)^2, in every update of D."""

    def __init__(self, weight: float = 10.0) -> None:
        super().__init__()
        self.weight = weight

    def judge(self, game: nn.Module, batch: Batch, reals: Tensor, fakes: Tensor) -> Terms:
        points = penalties.between(reals, fakes, batch.draws.uniform("between"))
        logits = game.D(points, batch.labels)
        return {"gradient_penalty": penalties.gradient_penalty(logits, points, self.weight)}
