"""Colorization in CIE-LAB (Fabbri, 2017, "Colorizing images using adversarial networks")."""

from scalegan.games.pix2pix.game import Pix2Pix


class Colorization(Pix2Pix):
    """pix2pix from L* to a* and b*; the photo keeps its lightness.

    The study prints and codes several things in two ways. Here: D has no sigmoid under least squares (his code has
    one); energies of EBGAN are mean squared errors, in which his margin of 80 for batches of four at 256 px is 0.195;
    "L2" is the mean squared error, where his code has half its sum; G's loss is non-saturating, as in his code. In his
    code the energy of EBGAN is the root of a sum over the batch, divided by the batch size: no mean over samples;
    at the margin its gradient is that of `game.adversarial_weight=200`. WGAN has five updates of the critic throughout,
    where his code has 100 in each of the first ten iterations and in every 500th.
    """
