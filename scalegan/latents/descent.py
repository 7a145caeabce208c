"""Finds latents by gradient descent: of a photo, or of an image with painted colours.

Settings are those of iGAN's published code (Zhu et al., 2016): Adam with rate 0.1 and betas (0.9, 0.999), 100 steps; a
uniform z is the tanh of what is optimised; every start but the first has uniform noise of +-0.5 added.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from scalegan.games.sampling import most_at_once
from scalegan.latents.space import Space
from scalegan.randomness import Draws

STEPS = 100
_RATE = 0.1
_NOISE = 0.5        # of restarts, in units of the space
_EDGE = 0.99        # of a uniform z


def _nothing(costs: Tensor, images: Tensor) -> None:
    """Watches nothing."""


def restarts(space: Space, point: Tensor, count: int, seed: int) -> Tensor:
    """Starts [count, dim]: the point [dim], and others around it, whose noise is keyed by `seed`."""
    draws = Draws(seed, 0, "restarts", torch.arange(count, device=space.device))
    noise = draws.uniform("noise", space.dim) * 2 - 1
    noise[0] = 0
    return point + _NOISE * space.unit() * noise


def descend(space: Space, starts: Tensor, label: Tensor | None, cost: Callable[[Tensor, Tensor], Tensor],
            advance: Callable[[int], None], watch: Callable[[Tensor, Tensor], None] = _nothing) -> Tensor:
    """The point [dim] with the lowest cost among all that are met on the way from the starts [n, dim].

    Args:
        label: of all images, a class [1] or attributes [1, K].
        cost: of points [n, dim] and their images [n, C, H, W], [n].
        advance: is told of every step of every start.
        watch: is shown costs [n] and images of every step.
    """
    unit, size = space.unit(), most_at_once(space.generator)
    found = [_from(space, part, label, cost, advance, watch, unit) for part in starts.split(size)]
    costs, points = (torch.cat(each) for each in zip(*found))
    return points[costs.argmin()]


def _from(space: Space, starts: Tensor, label: Tensor | None, cost: Callable[[Tensor, Tensor], Tensor],
          advance: Callable[[int], None], watch: Callable[[Tensor, Tensor], None], unit: Tensor,
          ) -> tuple[Tensor, Tensor]:
    """The lowest cost [n] that each start led to, and where it was met, [n, dim]."""
    free = (starts.clamp(-_EDGE, _EDGE).atanh() if space.bounded else starts / unit).requires_grad_()
    adam = torch.optim.Adam([free], lr=_RATE, betas=(0.9, 0.999))
    labels = None if label is None else label.expand(len(starts), *label.shape[1:]).to(space.device)
    lowest, best = torch.full((len(starts),), torch.inf, device=space.device), starts.clone()
    for _ in range(STEPS + 1):
        points = free.tanh() if space.bounded else free * unit
        images = space.made(points, labels)
        costs = cost(points, images)
        watch(costs.detach(), images.detach())
        better = costs.detach() < lowest
        lowest, best = torch.where(better, costs.detach(), lowest), torch.where(better[:, None], points.detach(), best)
        adam.zero_grad()
        costs.sum().backward()
        adam.step()
        advance(len(starts))
    return lowest, best
