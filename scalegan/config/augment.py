"""Keys under `augment`."""

from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PositiveInt

from scalegan.config.schedule import Schedule
from scalegan.config.schema import Share, typed


@typed
class NoAugment:
    name: Literal["none"] = "none"
    """Leaves images unchanged."""


def _pipe(value: Any) -> Any:
    """Expands the published name of a pipe: every group up to its last letter."""
    names = ("b", "bg", "bgc", "bgcf", "bgcfn", "bgcfnc")
    groups = ("blit", "geometry", "colour", "filter", "noise", "cutout")
    return {group: float(i < len(value)) for i, group in enumerate(groups)} if value in names else value


@typed
class Pipe:
    """Probability of each group's transformations, relative to p; 0 leaves a group out."""

    blit: Share = 1.0
    """Flips, quarter turns, whole-pixel shifts."""
    geometry: Share = 1.0
    """Scale, rotation, aspect, fractional shifts."""
    colour: Share = 1.0
    """Brightness, contrast, luma flip, hue, saturation."""
    filter: Share = 0.0
    """Amplified frequency bands."""
    noise: Share = 0.0
    """Additive noise."""
    cutout: Share = 0.0
    """A square hole."""


@typed
class Ada:
    """Adaptive discriminator augmentation (Karras et al., 2020)."""

    name: Literal["ada"] = "ada"
    pipe: Annotated[Pipe, BeforeValidator(_pipe)] = field(default_factory=Pipe)
    """Relative probabilities of the groups, or a published name: b, bg, bgc (the default), bgcf, bgcfn, bgcfnc."""
    p: Annotated[float, Field(ge=0, le=0.85)] | Schedule = 0.0
    """Probability of a transformation: the initial value, or, with target=null, the value throughout."""
    target: Annotated[float, Field(gt=-1, lt=1)] | None = 0.6
    """p rises while the mean sign of D's output on reals is above this, and falls while below; null leaves p as
    given."""
    adapt_images: PositiveInt = 500_000
    """Fewest images in which p could go from 0 to 1; it stays below 0.85."""


@typed
class DiffAugment:
    """Differentiable augmentation (Zhao et al., 2020) of every image."""

    name: Literal["diffaugment"] = "diffaugment"
    policies: tuple[Literal["color", "translation", "cutout"], ...] = ("color", "translation", "cutout")
    """Transformations to apply."""


Augment = Annotated[NoAugment | Ada | DiffAugment, Field(discriminator="name")]
