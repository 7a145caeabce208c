"""R1 and R2: the squared norm of D's gradient at reals and at fakes (Mescheder et al., 2018, eq. 9)."""

from scalegan import penalties
from scalegan.games.base import Batch, Game
from scalegan.games.penalties import DiscriminatorPass, Penalty, squared_gradients
from scalegan.losses import Terms
from scalegan.schedules import Moving, at


class R1R2Penalty(Penalty):
    """gamma / 2 E |grad D|^2, with respect to images before augmentation.

    Args:
        side: "real" for R1, "fake" for R2.
        gamma: weight.
        every: for R1: 1 adds it as a term to every update of D; larger values make it a lazy phase of its own.

    Raises:
        ValueError: for a lazy R2.
    """

    needs_whole = frozenset({"D"})

    def __init__(self, side: str, gamma: float | Moving, every: int = 1) -> None:
        super().__init__()
        if side == "fake" and every > 1:
            raise ValueError("only R1 can be lazy; set every=1 for R2")
        self.side, self.gamma, self.every = side, gamma, every
        self.lazy_player = "D" if every > 1 else ""
        self.differentiates = (side,) if every == 1 else ()

    def discriminator_terms(self, game: Game, d_pass: DiscriminatorPass) -> Terms:
        if self.every > 1:
            return {}
        squares = d_pass.squared_gradient_norms[self.side]
        return {self.name: penalties.half_weighted(at(self.gamma, d_pass.batch.images), squares)}

    def lazy_terms(self, game: Game, batch: Batch) -> Terms:
        reals = batch.reals.detach().requires_grad_(True)
        squares = squared_gradients(game, game.augmented(reals, batch, "real"), reals, batch.labels)
        return {self.name: penalties.half_weighted(at(self.gamma, batch.images) * self.every, squares)}

    @property
    def name(self) -> str:
        return {"real": "r1", "fake": "r2"}[self.side]
