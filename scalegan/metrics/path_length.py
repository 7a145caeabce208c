"""Perceptual path length of a style-based generator (Karras et al., "Analyzing and improving the image quality of
StyleGAN", CVPR 2020): how much an image changes for a small step in w.

It uses endpoints of segments in W, epsilon 1e-4, no crop, and images above 256 px averaged down to 256. It is the mean
of the squared distances divided by epsilon squared, without those below the 1st and above the 99th percentile. With
VGG16's LPIPS from a TorchScript file, such as NVIDIA's vgg16.pt, the figure is called `ppl`. Without that file, the
distance is that of the extractor's features, and the figure is called `pl`: it is not comparable to any published one.
"""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from scalegan.metrics.samples import PURPOSE, Samples
from scalegan.randomness import Draws
from scalegan.support.devices import double

EPSILON = 1e-4
PERCENTILES = (1, 99)
LARGEST = 256


@torch.inference_mode()
def squared_distances(samples: Samples, numbers: np.ndarray, embed: Callable[[Tensor], Tensor]) -> Tensor:
    """|embed(G(w)) - embed(G(w + epsilon (w' - w)))|^2 / epsilon^2 of the samples `numbers`, float64 [n].

    Args:
        embed: maps float images [n, C, H, W] in 0 ... 255 to vectors [n, d].
    """
    positions = torch.from_numpy(numbers).to(samples.device)
    draws, others = (Draws(0, 0, purpose, positions) for purpose in (PURPOSE, f"{PURPOSE}/path"))
    start = samples.styles(draws)[0]
    other_z = others.normal("z", samples.generator.latent_dim)
    end = samples.generator.mapping(other_z, samples.labels(draws), samples.psi)
    near = torch.lerp(double(start), double(end), EPSILON).to(start)
    vectors = [double(embed(_pixels(samples.synthesise((w, None), draws)))) for w in (start, near)]
    return (vectors[0] - vectors[1]).square().sum(1) / EPSILON**2


def mean_length(distances: Tensor) -> float:
    """The mean without the outer percentiles, as in NVIDIA's code."""
    values = distances.cpu().numpy()
    low = np.percentile(values, PERCENTILES[0], method="lower")
    high = np.percentile(values, PERCENTILES[1], method="higher")
    return float(values[(values >= low) & (values <= high)].mean())


def _pixels(images: Tensor) -> Tensor:
    """[-1, 1] to 0 ... 255, not rounded: a step of epsilon changes pixels by less than one level."""
    factor = images.shape[2] // LARGEST
    if factor > 1:
        images = F.avg_pool2d(images, factor)
    return (images.float() + 1) * (255 / 2)
