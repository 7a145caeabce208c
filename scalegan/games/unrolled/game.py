"""Unrolled GAN (Metz et al., 2017): G plays against D as it would respond."""

from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from scalegan.games.base import Batch
from scalegan.games.gan.game import GAN, Discriminate
from scalegan.penalties import inner_gradients


class Unrolled(GAN):
    """G's loss is taken at theta_D^K, D's weights after K steps of gradient descent, and differentiated through them.

    theta_D^0 = theta_D; theta_D^{k+1} = theta_D^k - eta df(theta_G, theta_D^k) / d theta_D^k   (eq. 3 to 8),
    where f is D's loss, without penalties, on the current micro-batch: the look-ahead is defined per micro-batch. D
    itself is updated as in any game.

    Args:
        steps: K.
        step_size: eta.
        arguments, further: passed on to GAN.
    """

    def __init__(self, *arguments, steps: int = 5, step_size: float = 0.1, **further) -> None:
        super().__init__(*arguments, **further)
        self.steps, self.step_size = steps, step_size

    def _called_by_forward(self) -> frozenset[str]:
        return super()._called_by_forward() - {"D"}

    @classmethod
    def further(cls, settings: Any) -> dict[str, Any]:
        return {"steps": settings.steps, "step_size": settings.step_size}

    def opponent(self, batch: Batch, fakes: Tensor, condition: Tensor | None) -> Discriminate:
        """D after K look-ahead steps."""
        weights = {name: p.detach().requires_grad_() for name, p in self.D.named_parameters()}
        reals = self.augmented(batch.reals, batch, "real")
        for _ in range(self.steps):
            real = functional_call(self.D, weights, (reals, batch.labels, *self.directed))
            fake = functional_call(self.D, weights, (fakes, condition, *self.directed))
            loss = torch.stack(list(self.loss.discriminator(real, fake).values())).sum()
            gradients = inner_gradients(loss, list(weights.values()))
            weights = {name: w - self.step_size * g for (name, w), g in zip(weights.items(), gradients)}
        return lambda x, labels: functional_call(self.D, weights, (x, labels))
