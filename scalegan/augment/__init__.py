"""Augmentation of what a discriminator sees, reals and fakes alike."""

from torch import Tensor, nn

from scalegan.randomness import Draws


class Augment(nn.Module):
    """Base class of augmentations, and the identity. Differentiable any number of times."""

    def forward(self, images: Tensor, draws: Draws, seen: int) -> Tensor:
        """Images [n, C, H, W] as D sees them after `seen` images of the run; each depends on its own draws alone."""
        return images

    def shifted(self, images: Tensor, draws: Draws) -> Tensor:
        """Images [n, C, H, W] of which only the places of pixels have changed, as `forward` changes them."""
        return images

    def watch(self, real_logits: Tensor, seen: int) -> dict[str, Tensor]:
        """Takes D's logits of augmented reals, [n], in its main phase; returns figures for the log."""
        return {}
