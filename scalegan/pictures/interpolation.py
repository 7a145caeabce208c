"""Interpolates between samples.

Style-based generators are interpolated along straight lines in w; others along great circles in z (Shoemake, 1985;
White, 2016), or along straight lines if z is uniform.
"""

from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

_BATCH = 32


def walk(generator: "nn.Module", seeds: list[int], steps: int, label: "Tensor | None" = None,
         psi: float = 1.0) -> "Tensor":
    """Images [(len(seeds) - 1) * (steps + 1), C, H, W] from each seed to the next, including both ends.

    Args:
        label: of all images: a class, [1], or attributes, [1, K].
        psi: truncation, passed to the generator.
    """
    import torch

    from scalegan.games.sampling import is_styled, latents, most_at_once, style_of
    from scalegan.randomness import Draws

    device = next(generator.parameters()).device

    def labels(count: int) -> torch.Tensor | None:
        return None if label is None else label.to(device).expand(count, *label.shape[1:])

    styled = is_styled(generator)
    with torch.no_grad():
        ends = latents(generator, Draws(0, 0, "sample", torch.tensor(seeds, device=device)))
        if styled:
            ends = generator.mapping(ends, labels(len(seeds)), psi)
        between = slerp if not styled and generator.latent == "normal" else torch.lerp
        places = [between(a, b, step / steps) for a, b in pairwise(ends) for step in range(steps + 1)]
        images = []
        for part in torch.stack(places).split(min(_BATCH, most_at_once(generator))):
            made = generator.synthesis(part, "const") if styled \
                else generator(part, labels(len(part)), **style_of(generator, psi))
            images.append(made.cpu())
    return torch.cat(images)


def slerp(a: "Tensor", b: "Tensor", share: float) -> "Tensor":
    """Interpolates from a to b, vectors of equal length, along a great circle, which preserves that length."""
    cosine = (a @ b) / (a.norm() * b.norm())
    angle = cosine.clamp(-1, 1).acos()
    if angle.sin() < 1e-6:
        return a.lerp(b, share)
    return (((1 - share) * angle).sin() * a + (share * angle).sin() * b) / angle.sin()
