"""Keys under `model` for the transformer family."""

from typing import Literal

from pydantic import PositiveInt

from scalegan.config.schema import Beta, typed


@typed
class GAT:
    """A transformer GAN (Hyun et al., 2025), on images or latents of any size. Its optimizers' rates go with 1 / width:
    the published ones are a base rate times 768 / width."""

    name: Literal["gat"] = "gat"
    size: Literal["S", "B", "L", "XL"] = "B"
    """Published size: 12 blocks of 384 (S) or 768 features (B), 24 of 1,024 (L), 28 of 1,152 (XL)."""
    patch: Literal[1, 2, 4, 8] = 2
    """Side of the square that is a token, in pixels or latents; half the side makes four times as many tokens."""
    depth: PositiveInt | None = None
    """Blocks of either player, or null for the size's."""
    width: PositiveInt | None = None
    """Features of a token, or null for the size's."""
    heads: PositiveInt | None = None
    """Heads of the attention, or null for the size's; four times their number divides the width."""
    outputs: PositiveInt = 4
    """Outputs of the generator over its depth, which the discriminator sees all at once under different amounts of
    noise; 1 gives it the samples as they are."""
    latent_dim: PositiveInt = 64
    """Length of z, and of the labels' embedding."""
    label_dim: PositiveInt = 2048
    """Features of the discriminator that are multiplied with those of a label."""
    w_avg_beta: Beta = 0.995
    """Decay of the average of w, of each class where there are classes, per update."""
