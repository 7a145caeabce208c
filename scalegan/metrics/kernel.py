"""Kernel inception distance (Bińkowski et al., "Demystifying MMD GANs", ICLR 2018).

The squared maximum mean discrepancy under the polynomial kernel (x.y / d + 1)^3, by the unbiased estimator, averaged
over 100 random subsets of 1,000 images of each set. Subsets are drawn as in torch-fidelity.
"""

import numpy as np
import torch
from torch import Tensor

SUBSETS = 100
SUBSET_SIZE = 1000
SEED = 2020


def kernel_distance(fakes: Tensor, reals: Tensor, subsets: int = SUBSETS, subset_size: int = SUBSET_SIZE,
                    seed: int = SEED) -> tuple[float, float]:
    """Mean and standard deviation over subsets of the features [n, d] and [m, d].

    The smaller set limits the subset size; the caller warns about it.
    """
    size = size_of_subsets(subset_size, fakes, reals)
    generator = np.random.RandomState(seed)     # torch-fidelity's
    distances = []
    for _ in range(subsets):
        of_fakes = generator.choice(len(fakes), size, replace=False)
        of_reals = generator.choice(len(reals), size, replace=False)
        distances.append(squared_mmd(fakes[torch.from_numpy(of_fakes)], reals[torch.from_numpy(of_reals)]))
    return float(np.mean(distances)), float(np.std(distances))


def size_of_subsets(wanted: int, fakes: Tensor, reals: Tensor) -> int:
    """Images in each subset of features [n, d] and [m, d]: the number wanted, or all of the smaller set."""
    return min(wanted, len(fakes), len(reals))


def squared_mmd(x: Tensor, y: Tensor) -> float:
    """The unbiased estimate from x [n, d] and y [m, d]; it may be negative for sets that are alike."""
    n, m = len(x), len(y)
    xx, yy = _kernel(x, x), _kernel(y, y)
    within_x = (xx.sum() - xx.trace()) / (n * (n - 1))
    within_y = (yy.sum() - yy.trace()) / (m * (m - 1))
    return float(within_x + within_y - 2 * _kernel(x, y).mean())


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T).double().div_(x.shape[1]).add_(1).pow_(3)
