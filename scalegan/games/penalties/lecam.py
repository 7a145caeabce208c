"""LeCam regularisation (Tseng et al., 2021, "Regularizing Generative Adversarial Networks under Limited Data")."""

import torch
from torch import Tensor

from scalegan.games.base import Game
from scalegan.games.penalties import DiscriminatorPass, Penalty
from scalegan.losses import Terms
from scalegan.models.layers.tracked import Tracked


class LeCam(Penalty, Tracked):
    """D's logits of reals should not be above its usual logits of fakes, nor those of fakes below its usual logits of
    reals: weight * (E relu(D(x) - a_F)^2 + E relu(a_R - D(G(z)))^2), where a_R and a_F are running means of D's logits
    (section 3.2; the relu is that of the published code).

    Args:
        weight: lambda in the paper.
        decay: fraction of the running means that an update keeps.
        start: updates of D from which on the term is added; the means run from the first one on.
    """

    needs_whole = frozenset()

    def __init__(self, weight: float = 0.3, decay: float = 0.9, start: int = 1000) -> None:
        super().__init__()
        self.weight, self.decay, self.start = weight, decay, start
        self.statistics = {"real": (), "fake": ()}
        for name in ("real", "fake"):
            self.register_buffer(name, torch.zeros(()))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def discriminator_terms(self, game: Game, d_pass: DiscriminatorPass) -> Terms:
        real, fake = d_pass.real.logits, d_pass.fake.logits
        self.observe(real=real.mean(), fake=fake.mean())
        squares = (real - self.fake).relu().square().mean() + (self.real - fake).relu().square().mean()
        return {"lecam": self.weight * (self.updates >= self.start) * squares}

    def advance(self, real: Tensor, fake: Tensor) -> None:
        share = torch.where(self.updates == 0, 1.0, 1 - self.decay)     # the first update has nothing to keep
        for mean, seen in ((self.real, real), (self.fake, fake)):
            mean.lerp_(seen.to(mean.dtype), share)
        self.updates += 1
