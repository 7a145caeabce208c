"""Values that move with the images seen."""

import math

from scalegan.config import Schedule


def at(value: float | Schedule, images: int) -> float:
    """A number as it is; a schedule's value at that many images."""
    if not isinstance(value, Schedule):
        return value
    if value.kind == "step":
        return next((value.steps[since] for since in sorted(value.steps, reverse=True) if images >= since), value.start)
    done = min(images / value.images, 1.0)
    if value.kind == "cosine":
        done = (1 - math.cos(math.pi * done)) / 2
    return value.start + (value.end - value.start) * done
