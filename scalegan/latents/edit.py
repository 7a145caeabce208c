"""Edits of samples: steps along directions, and arithmetic with the latents of several samples."""

import re
from argparse import ArgumentTypeError
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from scalegan.errors import UsageError
from scalegan.latents.latent_files import Latents
from scalegan.latents.space import Space
from scalegan.randomness import Draws
from scalegan.support.arguments import seeds

STEPS = 5           # from minus to plus; the one in the middle is the plain sample
NEIGHBOURS = 8
_NOISE = 0.25       # in standard deviations of z, and of each coordinate of w


@dataclass(frozen=True)
class Term:
    """A term of latent arithmetic: the mean latent of the samples of these seeds, added or subtracted."""

    sign: int
    seeds: tuple[int, ...]


def shares() -> list[float]:
    """How far each step goes, from -1 to 1."""
    return [2 * step / (STEPS - 1) - 1 for step in range(STEPS)]


def moved(space: Space, latents: Latents, step: Tensor) -> list[Tensor]:
    """Images [n, C, H, W] of the latents moved by each share of a step [dim], one for each of `shares()`."""
    return [replace(latents, points=latents.points + share * step.to(latents.points)).images(space)
            for share in shares()]


def parsed(text: str) -> list[Term]:
    """The terms of '0,1,2 - 3,4,5 + 6-8': seeds and ranges, with spaces around plus and minus.

    Raises:
        UsageError: if it is anything else.
    """
    words = re.split(r"\s+([+-])\s+", text.strip())
    try:
        return [Term(-1 if sign == "-" else 1, tuple(seeds(group)))
                for sign, group in zip(["+", *words[1::2]], words[::2])]
    except ArgumentTypeError as error:
        raise UsageError(f"--arithmetic '{text}' is not of the form '0,1,2 - 3,4,5 + 6-8', with spaces around + and - "
                         f"({error})") from error


@dataclass(frozen=True)
class Arithmetic:
    """Images of latent arithmetic.

    Args:
        samples: of each term's seeds, [n, C, H, W] each; `means`: of each term's mean latent, [terms, C, H, W].
        results: of the sum, followed by its neighbours, [1 + NEIGHBOURS, C, H, W].
    """

    samples: list[Tensor]
    means: Tensor
    results: Tensor


def arithmetic(space: Space, terms: Sequence[Term], label: Tensor | None = None) -> Arithmetic:
    """Adds and subtracts means of latents, and adds uniform noise to the sum for its neighbours (Radford et al., 2016,
    section 6.3.2).

    Args:
        label: of all images: a class [1], or attributes [1, K].
    """
    def labels(count: int) -> Tensor | None:
        return None if label is None else label.expand(count, *label.shape[1:])

    def draw(points: Tensor) -> Tensor:
        return space.images(points, labels(len(points)))

    groups = [space.of_seeds(term.seeds, labels(len(term.seeds))) for term in terms]
    means = torch.stack([group.mean(0) for group in groups])
    total = sum(term.sign * mean for term, mean in zip(terms, means))
    noise = Draws(0, 0, "neighbours", torch.arange(NEIGHBOURS, device=space.device)).uniform("noise", space.dim) * 2 - 1
    around = total + _NOISE * noise * space.unit()
    return Arithmetic([draw(group) for group in groups], draw(means), draw(torch.cat([total[None], around])))
