"""Values that change with the number of images seen."""

import math
from collections.abc import Mapping
from typing import Any, Protocol


class Moving(Protocol):
    """A schedule as written in a recipe; see `scalegan.config.Schedule`."""

    kind: str
    start: float
    end: float | None
    images: int | None
    after: int
    steps: Mapping[int, float]


class Followed(Protocol):
    """Stands for images seen where work is recorded, to be done again at other numbers of images."""

    def value_of(self, schedule: Moving) -> Any:
        """A scalar tensor that is set to the schedule's value before the work is done."""


def at(value: float | Moving, images: int | Followed) -> Any:
    """The value after `images` images: a number as it is, or that of a schedule, which is a number too unless `images`
    stands for others."""
    if isinstance(value, int | float):
        return value
    if hasattr(images, "value_of"):
        return images.value_of(value)
    if value.kind == "step":
        return next((value.steps[since] for since in sorted(value.steps, reverse=True) if images >= since), value.start)
    done = min(max(images - value.after, 0) / value.images, 1.0)
    if value.kind == "exponential":
        return value.start * (value.end / value.start) ** done
    if value.kind == "cosine":
        done = (1 - math.cos(math.pi * done)) / 2
    return value.start + (value.end - value.start) * done
