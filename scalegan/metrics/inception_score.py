"""Inception score (Salimans et al., "Improved techniques for training GANs", NIPS 2016).

exp of the mean KL divergence between p(y | x) and p(y), over 10 splits; shuffled as in torch-fidelity, which uses the
2015 Inception's logits without bias.
"""

import numpy as np
import torch
from torch import Tensor

SPLITS = 10
SEED = 2020


def inception_score(logits: Tensor, splits: int = SPLITS, seed: int = SEED) -> tuple[float, float]:
    """Mean and standard deviation over the splits, of logits [n, classes], n >= splits."""
    shuffled = logits[torch.from_numpy(np.random.RandomState(seed).permutation(len(logits)))].double()
    log_p = shuffled.log_softmax(1)
    scores = []
    for split in range(splits):
        part = log_p[split * len(log_p) // splits : (split + 1) * len(log_p) // splits]
        divergence = part.exp() * (part - part.exp().mean(0).log())
        scores.append(float(divergence.sum(1).mean().exp()))
    return float(np.mean(scores)), float(np.std(scores))
