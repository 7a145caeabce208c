"""The latent of a photo for style-based generators, as StyleGAN2 finds it (Karras et al., 2020, section 5 and appendix
D): w and the noise planes are optimised together, with noise added to w that fades, and the planes kept like noise.

Settings are the published ones; features are those of `Likeness` in place of LPIPS. W+, a w for each layer, is that of
Abdal et al. (2019).
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from scalegan.games.sampling import latents
from scalegan.latents.latent_files import Latents
from scalegan.latents.likeness import Likeness
from scalegan.latents.projection import Way
from scalegan.latents.space import Space
from scalegan.randomness import Draws

STEPS = 1000
_SAMPLES = 10_000           # for the mean and spread of w
_RATE, _RISE, _FALL = 0.1, 0.05, 0.25       # learning rate; the shares of the steps over which it rises and falls
_NOISE, _NOISE_UNTIL = 0.05, 0.75           # added to w, in units of its spread; until this share of the steps
_LIKE_NOISE = 1e5           # weight of the planes' correlations
_LARGEST = 256              # px at which images are compared
_SMALLEST_PLANE = 8


def project(space: Space, photo: Tensor, label: Tensor | None, likeness: Likeness, advance: Callable[[int], None],
            way: Way, plus: bool = False, steps: int = STEPS, seed: int = 0) -> Latents:
    """The w, or with `plus` a w for each layer, whose image with planes of its own is most like the photo.

    Args:
        photo: [1, C, H, W] in [-1, 1], on the generator's device.
        label: with which the mean of w is taken, a class [1] or attributes [1, K]; all labels alike if None.
        seed: of the noise.
    """
    mean, spread = _of_samples(space, label)
    w = (space.of_layers(mean[None]) if plus else mean[None]).clone().requires_grad_()
    draws = Draws(seed, 0, "project", torch.zeros(1, dtype=torch.long, device=space.device))
    planes = {layer: plane.requires_grad_() for layer, plane in
              draws.normals({f"plane/{layer}": shape for layer, shape in
                             space.generator.synthesis.noise_shapes().items()}).items()}
    planes = {key.removeprefix("plane/"): plane for key, plane in planes.items()}
    adam, target = torch.optim.Adam([w, *planes.values()], betas=(0.9, 0.999)), _reduced(photo)
    for step in range(steps):
        share = step / steps
        adam.param_groups[0]["lr"] = _RATE * _ramp(share)
        strength = spread * _NOISE * max(0.0, 1 - share / _NOISE_UNTIL) ** 2
        images = space.made(w + strength * draws.normal(f"w/{step}", *w.shape[1:]), None, planes)
        apart = likeness(_reduced(images), target)
        adam.zero_grad()
        (apart.sum() + _LIKE_NOISE * sum(_correlation(plane) for plane in planes.values())).backward()
        adam.step()
        with torch.no_grad():
            for plane in planes.values():
                plane.sub_(plane.mean()).mul_(plane.square().mean().rsqrt())
        way.show(images[0].detach(), apart[0].detach())
        advance(1)
    return Latents(w.detach(), None, {layer: plane.detach() for layer, plane in planes.items()})


def _of_samples(space: Space, label: Tensor | None) -> tuple[Tensor, Tensor]:
    """The mean of w [dim], and the root of its total variance []."""
    if label is None:
        points, _ = space.drawn(_SAMPLES, "projection")
    else:
        draws = Draws(0, 0, "projection", torch.arange(_SAMPLES, device=space.device))
        labels = label.expand(_SAMPLES, *label.shape[1:]).to(space.device)
        with torch.no_grad():
            points = space.generator.mapping(latents(space.generator, draws), labels, space.psi)[:, 0]
    mean = points.mean(0)
    return mean, (points - mean).square().sum(1).mean().sqrt()


def _ramp(share: float) -> float:
    """The learning rate's factor: it rises linearly and falls along a cosine."""
    falling = min(1.0, (1 - share) / _FALL)
    return (0.5 - 0.5 * math.cos(falling * math.pi)) * min(1.0, share / _RISE)


def _correlation(plane: Tensor) -> Tensor:
    """How much neighbouring values of a plane [1, 1, H, W] go together, at this scale and all coarser ones."""
    total = plane.new_zeros(())
    while True:
        total = total + sum((plane * plane.roll(1, dim)).mean().square() for dim in (2, 3))
        if min(plane.shape[2:]) <= _SMALLEST_PLANE:
            return total
        plane = F.avg_pool2d(plane, 2)


def _reduced(images: Tensor) -> Tensor:
    """Images of at most 256 px."""
    side = max(images.shape[2:])
    return images if side <= _LARGEST else F.interpolate(images, scale_factor=_LARGEST / side, mode="area")
