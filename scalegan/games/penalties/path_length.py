"""StyleGAN2's path length regularisation, and its running mean."""

import math

import torch
from torch import Tensor

from scalegan.games.base import Batch, Game
from scalegan.games.compiled import Compiled, differentiable
from scalegan.games.penalties import Penalty
from scalegan.losses import Terms
from scalegan.models.layers.tracked import Tracked
from scalegan.penalties import inner_gradients


class PathLength(Penalty, Tracked):
    """A lazy phase of G, on half of each micro-batch (Karras et al., 2020, section 3.2 and appendix B).

    Args:
        weight: weight of the penalty.
        decay: fraction of the running mean length that an update keeps (1 - 0.01 in the published code).
        every: updates of G per update of the penalty.

    Lengths are compared with the running mean after the micro-batch's own mean has moved it (in the published code, the
    GPU's mean), so the penalty is defined per micro-batch.
    """

    needs_whole = frozenset({"G"})
    lazy_player = "G"

    def __init__(self, weight: float = 2.0, decay: float = 0.99, every: int = 4) -> None:
        super().__init__()
        self.weight, self.decay, self.every = weight, decay, every
        self.statistics = {"mean": ()}
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, images: Tensor, ws: Tensor, noise: Tensor) -> Tensor:
        """The penalty for images [n, C, H, W] made from ws [n, num_ws, w_dim], a scalar; `noise` is standard normal, of
        the images' shape."""
        height, width = images.shape[2:]
        along = (images * noise).sum() / math.sqrt(height * width)
        return self._of(*inner_gradients(along, (ws,)))

    def _of(self, gradient: Tensor) -> Tensor:
        lengths = gradient.square().sum(2).mean(1).sqrt()  # [n]
        self.observe(mean=lengths.mean())
        mean = self.mean.lerp(lengths.mean().to(self.mean.dtype), 1 - self.decay)
        return self.weight * (lengths - mean).square().mean()

    def lazy_terms(self, game: Game, batch: Batch) -> Terms:
        half = batch[: max(len(batch) // 2, 1)]
        compiled = isinstance(game.compiled["G"], Compiled) and differentiable(game.compiled["G"])
        generator = game.compiled["G"] if compiled else game.G
        ws = game.fakes_of.styles(generator, half, game.fake_condition(half))
        inputs, noise = game.fakes_of.noise(generator, half), half.draws.normal("path", *batch.reals.shape[1:])
        if compiled:
            along = noise / math.sqrt(noise[0, 0].numel())
            return {"path": self._of(generator.synthesis.with_gradient(ws, inputs, along=along)[1]) * self.every}
        return {"path": self(generator.synthesis(ws, inputs), ws, noise) * self.every}

    def advance(self, mean: Tensor) -> None:
        self.mean.lerp_(mean.to(self.mean.dtype), 1 - self.decay)
