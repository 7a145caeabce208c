"""Balanced consistency regularisation."""

from collections.abc import Callable

from torch import Tensor

from scalegan.augment.blit import flip_and_shift
from scalegan.randomness import Draws


class Consistency:
    """bCR (Zhao et al., 2020, "Improved Consistency Regularization for GANs", algorithm 1): what D says of an image and
    of its flipped and shifted copy is to be the same, of reals and of fakes.

    Args:
        real, fake: weights (lambda_real, lambda_fake of the paper).
        pixels: shifts are up to so many.
    """

    def __init__(self, real: float = 10.0, fake: float = 10.0, pixels: int = 4) -> None:
        self.weights, self.pixels = {"real": real, "fake": fake}, pixels

    def __call__(self, judge: Callable[[Tensor, Tensor | None], Tensor], who: str, logits: Tensor, images: Tensor,
                 labels: Tensor | None, draws: Draws) -> dict[str, Tensor]:
        """weight * E (D(x) - D(T(x)))^2, given what D said of the images already, [n]; empty where the weight is 0."""
        if not self.weights[who]:
            return {}
        copies = flip_and_shift(images.detach(), draws.of(f"bcr/{who}"), self.pixels)
        return {f"bcr_{who}": self.weights[who] * (logits - judge(copies, labels)).square().mean()}
