"""Interpolates between samples.

Style-based generators are interpolated along straight lines in w; others in z, along great circles (Shoemake, 1985;
White, 2016) where z is normally distributed, and along straight lines where it is not.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

    from scalegan.latents.latent_files import Latents
    from scalegan.latents.space import Space


def walk(generator: "nn.Module", seeds: list[int], steps: int, label: "Tensor | None" = None,
         psi: float = 1.0) -> "Tensor":
    """Images [(len(seeds) - 1) * (steps + 1), C, H, W] from each seed to the next, including both ends.

    Args:
        label: of all images: a class, [1], or attributes, [1, K].
        psi: truncation, passed to the generator.
    """
    from scalegan.latents.latent_files import Latents
    from scalegan.latents.space import Space

    space = Space(generator, psi)
    labels = None if label is None else label.expand(len(seeds), *label.shape[1:])
    return between(space, Latents(space.of_seeds(seeds, labels), labels), steps)


def between(space: "Space", ends: "Latents", steps: int) -> "Tensor":
    """Images [(n - 1) * (steps + 1), C, H, W] from each of n latents to the next, including both ends. Noise and
    vectors of texts go along straight lines.

    Raises:
        ValueError: if the latents have different labels.
    """
    import torch

    from scalegan.data.spec import Spec

    labels, are_vectors = ends.labels, Spec.of(space.generator.about["spec"]).vector_dim > 0
    if labels is not None and not are_vectors and not (labels == labels[:1]).all():
        raise ValueError("the latents have different labels, between which there are no samples")
    shares = [step / steps for step in range(steps + 1)]

    def along(each: torch.Tensor, line: Callable[[torch.Tensor, torch.Tensor, float], torch.Tensor]) -> torch.Tensor:
        return torch.stack([line(a, b, share) for a, b in pairwise(each) for share in shares])

    points = along(ends.points, space.between)
    noise = {layer: along(planes, torch.lerp) for layer, planes in ends.noise.items()}
    if labels is not None:
        labels = along(labels, torch.lerp) if are_vectors else labels[:1].expand(len(points), *labels.shape[1:])
    return space.images(points, labels, noise)
