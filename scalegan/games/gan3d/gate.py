"""A discriminator that is too accurate waits."""

import torch
from torch import Tensor, nn

_ROUNDING = 1e-6    # of a mean over micro-batches and ranks: 0.8 in fp32 is above 0.8


class AccuracyGate(nn.Module):
    """Lets D be updated if it told at most `most` of the last batch's reals and fakes from each other.

    The accuracy is that over the global batch, and is saved. It has to come from a phase that always moves: one from
    D's own updates would stay as it was once they end. It begins at 0, so D's first update is made.
    """

    def __init__(self, most: float) -> None:
        super().__init__()
        self.most = most
        self.register_buffer("accuracy", torch.zeros(()))

    @property
    def open(self) -> bool:
        return float(self.accuracy) <= self.most + _ROUNDING

    @torch.no_grad()
    def record(self, accuracy: Tensor) -> None:
        """Takes the last batch's accuracy, []."""
        self.accuracy.copy_(accuracy)


def accuracy_of(real: Tensor, fake: Tensor) -> Tensor:
    """The share of logits of reals [n] above 0 and of fakes [n] below, []."""
    return ((real > 0).float().mean() + (fake < 0).float().mean()) / 2
