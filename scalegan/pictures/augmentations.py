"""A picture of what augmentation does: images of the data, and beside each what D may see of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from scalegan.augment import Augment
from scalegan.augment.choice import augment_of
from scalegan.config import Recipe, Schedule
from scalegan.randomness import Draws
from scalegan.schedules import at

_ADAPTIVE = (0.2, 0.4, 0.6, 0.8)    # values of p to show, where training will choose it
_DRAWS = 8                          # augmented columns
_LEAST_SIDE, _MOST_SIDE = 96, 256   # of an image in the picture, in pixels


@dataclass(frozen=True)
class Strength:
    """An augmentation at one strength.

    Args:
        label: its strength, such as "p = 0.2"; empty if it has only one.
        augment, seen: the augmentation, and the images of the run after which it has that strength.
    """

    label: str
    augment: Augment
    seen: int


def strengths(recipe: Recipe) -> list[Strength]:
    """The strengths that a run of the recipe has, or may choose; none if it leaves images unchanged."""
    settings = recipe.augment
    if settings.name == "ada" and settings.target is not None and settings.p == 0:
        values = [replace(recipe, augment=replace(settings, target=None, p=p)) for p in _ADAPTIVE]
    elif settings.name == "ada":
        values = [replace(recipe, augment=replace(settings, target=None))]
    else:
        values = [recipe]
    found: dict[str, Strength] = {}
    for value in values:
        for seen in _moments(value):
            numbers = {name: at(setting, seen) for name, setting in _settings(value).items()}
            if settings.name == "diffaugment" or any(numbers.values()):
                label = ", ".join(f"{name} = {number:.2g}" for name, number in numbers.items())
                found.setdefault(label, Strength(label, augment_of(value), seen))
    return list(found.values())


def columns(images: Tensor, shown: Sequence[Strength], seed: int) -> dict[str, Tensor]:
    """Columns by name: the images [N, C, H, W] in [-1, 1] themselves, then draws at every strength, of the same size.

    A draw has the same random numbers at every strength, so that one sees what more strength adds.
    """
    drawn = {"untouched": _resized(images)}
    for strength in shown:
        for number in range(1, _DRAWS // min(len(shown), _DRAWS) + 1):
            draws = Draws(seed, 0, f"preview/{number}", torch.arange(len(images)))
            name = ", ".join(filter(None, (strength.label, f"draw {number}")))
            with torch.no_grad():
                drawn[name] = _resized(strength.augment(images, draws, strength.seen))
    return drawn


def _settings(recipe: Recipe) -> dict[str, float | Schedule]:
    """What determines the strength, by name."""
    noise = getattr(getattr(recipe.game, "tricks", None), "instance_noise", 0.0)
    return ({"p": recipe.augment.p} if recipe.augment.name == "ada" else {}) | ({"noise": noise} if noise else {})


def _moments(recipe: Recipe) -> list[int]:
    """Numbers of images after which to look: along the longest schedule, about four."""
    schedules = [setting for setting in _settings(recipe).values() if isinstance(setting, Schedule)]
    points = [0]
    for schedule in schedules:
        own = [0, *sorted(schedule.steps)] if schedule.kind == "step" else \
            [schedule.after + schedule.images * part // 4 for part in range(5)]
        points = max(points, own, key=lambda each: each[-1])
    return points[-1::-max(1, len(points) // 4)][::-1]


def _resized(images: Tensor) -> Tensor:
    """Images of a side that people can see, and that fits a screen."""
    side = max(images.shape[2:])
    if side > _MOST_SIDE:
        return F.interpolate(images, [max(1, length * _MOST_SIDE // side) for length in images.shape[2:]], mode="area")
    return images.repeat_interleave(-(-_LEAST_SIDE // side), 2).repeat_interleave(-(-_LEAST_SIDE // side), 3)
