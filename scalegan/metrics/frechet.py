"""The Fréchet distance of two Gaussians: FID if the features are those of the 2015 Inception.

Heusel et al., "GANs trained by a two time-scale update rule converge to a local Nash equilibrium", NIPS 2017:
|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), over the 2,048 features of the last pooling layer.
"""

import torch
from torch import Tensor

from scalegan.metrics.gaussian import Moments


def frechet_distance(mean1: Tensor, covariance1: Tensor, mean2: Tensor, covariance2: Tensor) -> float:
    """The distance of N(mean1, covariance1) and N(mean2, covariance2); means [d], covariances [d, d], float64.

    With R R^T = C1, C1 C2 has the eigenvalues of the symmetric R^T C2 R, so two symmetric decompositions give the
    trace. R has a column only for eigenvalues of C1 above rounding error, at most one per sample: the square roots of
    thousands of rounding errors would be visible in the sum.
    """
    values, vectors = torch.linalg.eigh(covariance1)
    real = values > values[-1] * len(values) * torch.finfo(values.dtype).eps
    root = vectors[:, real] * values[real].sqrt()
    products = torch.linalg.eigvalsh(root.T @ covariance2 @ root)
    trace = covariance1.trace() + covariance2.trace() - 2 * products.clamp(min=0).sqrt().sum()
    return float((mean1 - mean2).square().sum() + trace)


def of_moments(fakes: Moments, reals: Moments) -> float:
    return frechet_distance(fakes.mean, fakes.covariance, reals.mean, reals.covariance)
