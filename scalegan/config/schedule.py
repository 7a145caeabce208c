"""Values that change during training."""

from dataclasses import field
from typing import Literal

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt, model_validator

from scalegan.config.schema import typed


@typed
class Schedule:
    """A value that changes with the images seen, independently of total_images."""

    kind: Literal["cosine", "linear", "exponential", "step"] = "cosine"
    """Half a cosine from start to end, a straight line, the same factor per image, or steps. (Use a plain number for a
    constant.)"""
    start: NonNegativeFloat
    """Value at 0 images."""
    end: NonNegativeFloat | None = None
    """Value from `after` + `images` on."""
    images: PositiveInt | None = None
    """Images over which the value changes."""
    after: NonNegativeInt = 0
    """Images for which the value stays at start."""
    steps: dict[PositiveInt, NonNegativeFloat] = field(default_factory=dict)
    """With kind=step, values by the number of images from which they apply: {1_000_000: 1e-4, 2_000_000: 5e-5}."""

    @model_validator(mode="after")
    def _check_keys(self) -> "Schedule":
        if self.kind == "step" and (not self.steps or self.end is not None or self.images is not None or self.after):
            raise ValueError("a schedule of kind=step has start and steps")
        if self.kind != "step" and (self.steps or self.end is None or self.images is None):
            raise ValueError(f"a schedule of kind={self.kind} has start, end and images")
        if self.kind == "exponential" and not (self.start and self.end):
            raise ValueError("a schedule of kind=exponential has a start and an end above 0")
        return self
