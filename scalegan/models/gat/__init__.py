"""GAT, a transformer GAN (Hyun et al., 2025, "Scalable GANs with Transformers"), on pixels or latents of any size.

Written from the published code (hse1032/GAT). Trained parameters, in millions, for latents [4, 32, 32] in patches of 2
and 1,000 classes:

    size   depth   width   heads       G       D
    S       12      384      6       29.3    32.6
    B       12      768     12      116.5    97.1
    L       24     1024     16      408.5   314.9
    XL      28     1152     16      601.9   459.3

G has K outputs, evenly spaced over its depth, each the sum of what the blocks up to there have drawn. D sees all of
them at once, each with noise of its own level, the first ones with most: see `scalegan.augment.levels`.
"""

from scalegan.models.gat.discriminator import Discriminator
from scalegan.models.gat.generator import Generator

#: Depth, width and heads of the published sizes.
SIZES = {"S": (12, 384, 6), "B": (12, 768, 12), "L": (24, 1024, 16), "XL": (28, 1152, 16)}

__all__ = ["SIZES", "Discriminator", "Generator"]
