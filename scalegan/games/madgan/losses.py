"""MAD-GAN's losses (Ghosh et al., 2018, section 3): D tells reals and the fakes of each of K generators apart.

Logits are [n, K + 1]; class i < K stands for generator i, class K, the paper's D_{k+1}, for real. A batch has
fakes of all generators, `makers` [n] says whose; their means are multiplied by K, for the paper's sums over generators.
"""

from torch import Tensor
from torch.nn.functional import cross_entropy

from scalegan.losses import Terms


def discriminator_terms(real: Tensor, fake: Tensor, makers: Tensor) -> Terms:
    """-E log D_{k+1}(x) - sum_i E log D_i(G_i(z))."""
    generators = real.shape[1] - 1
    return {"real": cross_entropy(real, makers.new_full((len(real),), generators)),
            "fake": generators * cross_entropy(fake, makers)}


def non_saturating(fake: Tensor) -> Terms:
    """-sum_i E log D_{k+1}(G_i(z)), as in the published code."""
    return {"fake": (fake.shape[1] - 1) * (fake.logsumexp(1) - fake[:, -1]).mean()}


def minimax(fake: Tensor) -> Terms:
    """sum_i E log(1 - D_{k+1}(G_i(z)))."""
    return {"fake": (fake.shape[1] - 1) * (fake[:, :-1].logsumexp(1) - fake.logsumexp(1)).mean()}


GENERATOR_TERMS = {"non_saturating": non_saturating, "minimax": minimax}
