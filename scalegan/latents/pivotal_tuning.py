"""Pivotal tuning (Roich et al., 2022): after a photo's latent is found, the generator is trained until its image of
that latent is the photo. Edits of it keep the photo's details.

Settings are the published ones, with `Likeness` for the sum of LPIPS and squared error, and without the early end and
the regularisation of nearby latents, which the published code leaves out too.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from scalegan.latents.latent_files import Latents
from scalegan.latents.likeness import Likeness
from scalegan.latents.projection import Way
from scalegan.latents.space import Space

STEPS = 350
_RATE = 3e-4


def tune(space: Space, pivot: Latents, photo: Tensor, likeness: Likeness, advance: Callable[[int], None], way: Way,
         ) -> None:
    """Changes the weights of the space's generator.

    Args:
        pivot: the photo's latent, one.
        photo: [1, C, H, W] in [-1, 1], on the generator's device.
    """
    points = pivot.points.to(space.device)
    labels = None if pivot.labels is None else pivot.labels.to(space.device)
    planes = {layer: plane.to(space.device) for layer, plane in pivot.noise.items()}
    trained = getattr(space.generator, "generator", space.generator)       # not the decoder of one in latents
    weights = list((trained.synthesis if space.styled else trained).parameters())
    for weight in weights:
        weight.requires_grad_()
    adam = torch.optim.Adam(weights, lr=_RATE)
    for _ in range(STEPS):
        images = space.made(points, labels, planes)
        apart = likeness(images, photo)
        adam.zero_grad()
        apart.sum().backward()
        adam.step()
        way.show(images[0].detach(), apart[0].detach())
        advance(1)
    for weight in weights:
        weight.requires_grad_(False)
