"""Keys under `game` for colorization."""

from typing import ClassVar, Literal

from scalegan.config.schema import typed
from scalegan.games.pix2pix.settings import ImagePairs


@typed
class Colorization(ImagePairs):
    """From a photo's lightness to its colours in CIE-LAB, under the losses of Fabbri's comparative study (2017)."""

    name: Literal["colorization"] = "colorization"
    input: ClassVar[str] = "lightness"
    loss: Literal["non_saturating", "least_squares", "ebgan", "wasserstein_clip", "wgan_gp"] = "least_squares"
    """GAN, LSGAN, EBGAN, WGAN or WGAN-GP of the study, on D's logits, a mean over patches. D of ebgan is an
    auto-encoder of a* and b* alone, and does not see the lightness."""
