"""Walks between samples.

A style-based generator is walked through straight lines in w; others along great circles in z (Shoemake, 1985; White,
2016), or straight lines where z is uniform.
"""

from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

_BATCH = 32


def walk(generator: "nn.Module", seeds: list[int], steps: int, label: "Tensor | None" = None,
         psi: float = 1.0) -> "Tensor":
    """Images [(len(seeds) - 1) * (steps + 1), C, H, W]: from each seed to the next, both ends among them.

    Args:
        label: of all images: a class, [1], or attributes, [1, K].
        psi: as the generator takes it.
    """
    import torch

    from scalegan.games.sampling import is_styled, latents, style_of
    from scalegan.randomness import Draws

    def labels(count: int) -> torch.Tensor | None:
        return None if label is None else label.expand(count, *label.shape[1:])

    styled = is_styled(generator)
    with torch.no_grad():
        ends = latents(generator, Draws(0, 0, "sample", torch.tensor(seeds)))
        if styled:
            ends = generator.mapping(ends, labels(len(seeds)), psi)
        between = slerp if not styled and generator.latent == "normal" else torch.lerp
        places = [between(a, b, step / steps) for a, b in pairwise(ends) for step in range(steps + 1)]
        images = []
        for part in torch.stack(places).split(_BATCH):
            images.append(generator.synthesis(part, "const") if styled
                          else generator(part, labels(len(part)), **style_of(generator, psi)))
    return torch.cat(images)


def slerp(a: "Tensor", b: "Tensor", share: float) -> "Tensor":
    """From a to b, vectors of the same length, along a great circle: what lies between is as long as they are."""
    cosine = (a @ b) / (a.norm() * b.norm())
    angle = cosine.clamp(-1, 1).acos()
    if angle.sin() < 1e-6:
        return a.lerp(b, share)
    return (((1 - share) * angle).sin() * a + (share * angle).sin() * b) / angle.sin()
