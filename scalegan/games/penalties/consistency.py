"""Balanced consistency regularisation (Zhao et al., 2020, "Improved Consistency Regularization for GANs")."""

from scalegan.augment.blit import flip_and_shift
from scalegan.games.base import Game
from scalegan.games.penalties import DiscriminatorPass, Penalty
from scalegan.losses import Terms


class Consistency(Penalty):
    """bCR (algorithm 1): D should give an image and its flipped and shifted copy the same logit, for reals and for
    fakes: weight * E (D(x) - D(T(x)))^2.

    Args:
        real, fake: weights (lambda_real, lambda_fake in the paper).
        pixels: maximum shift in pixels.
    """

    needs_whole = frozenset()

    def __init__(self, real: float = 10.0, fake: float = 10.0, pixels: int = 4) -> None:
        super().__init__()
        self.weights, self.pixels = {"real": real, "fake": fake}, pixels

    def discriminator_terms(self, game: Game, d_pass: DiscriminatorPass) -> Terms:
        terms = {}
        for side, weight in self.weights.items():
            if weight:
                images = getattr(d_pass, side)
                copies = flip_and_shift(images.augmented.detach(), d_pass.batch.draws.of(f"bcr/{side}"), self.pixels)
                difference = images.logits - d_pass.discriminator(copies, images.condition)
                terms[f"bcr_{side}"] = weight * difference.square().mean()
        return terms
