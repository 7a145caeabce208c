"""How well samples cover a mixture: modes, high quality and reverse KL, as in the tables of VEEGAN and PacGAN.

Srivastava et al. (2017), section 4.1; Lin et al. (2018), section 4.1.
"""

import math

import torch
from torch import Tensor

_MIN_SAMPLES = 20  # of high quality, for a mode to count as covered
_SIGMAS = 3.0      # a sample is of high quality within this many standard deviations of a mode


def ring8() -> Tensor:
    """Centres [8, 2]."""
    angle = torch.arange(8).double() * (2 * math.pi / 8)
    return 2 * torch.stack([angle.cos(), angle.sin()], dim=1)


def grid25() -> Tensor:
    """Centres [25, 2]."""
    side = torch.arange(-4.0, 5.0, 2.0, dtype=torch.float64)
    return torch.cartesian_prod(side, side)


#: Centres and standard deviation of the mixtures; moons and spiral have no modes.
MODES = {"ring8": (ring8(), 0.02), "grid25": (grid25(), 0.05)}


def score(samples: Tensor, centres: Tensor, sigma: float) -> dict[str, float]:
    """Scores of samples [n, 2] under a mixture of equal, isotropic Gaussians at `centres` [m, 2].

    Returns:
        modes_covered: modes with at least 20 samples within 3 sigma.
        high_quality: share of the samples within 3 sigma of a mode.
        reverse_kl: KL(q || uniform), in nats; q is the share of samples nearest to each mode.
    """
    distance, nearest = torch.cdist(samples.double(), centres).min(dim=1)
    good = distance <= _SIGMAS * sigma
    counts = torch.bincount(nearest[good], minlength=len(centres))
    shares = torch.bincount(nearest, minlength=len(centres)).double() / len(samples)
    return {"modes_covered": int((counts >= _MIN_SAMPLES).sum()),
            "high_quality": good.double().mean().item(),
            "reverse_kl": (torch.special.xlogy(shares, shares * len(centres))).sum().item()}
