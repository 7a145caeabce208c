"""Keys under `game` of the two-player game."""

from dataclasses import field
from typing import Literal

from pydantic import PositiveFloat, PositiveInt

from scalegan.config.penalties import Penalties
from scalegan.config.schema import typed
from scalegan.config.tricks import Tricks


@typed
class GAN:
    """A generator against a discriminator."""

    name: Literal["gan"] = "gan"
    loss: Literal["non_saturating", "minimax", "hinge", "least_squares", "wasserstein", "wasserstein_clip", "wgan_gp",
                  "ebgan", "ebgan_pt", "relativistic", "f_kl", "f_reverse_kl", "f_js", "f_hellinger", "f_pearson"] = \
        "non_saturating"
    """Adversarial loss, of logits. wasserstein_clip and wgan_gp are wasserstein with `clip` and `penalties.gradient`
    at the papers' values unless given, ebgan_pt is ebgan with `penalties.pull_away`; with ebgan D is an
    auto-encoder."""
    a: float = 0.0
    """least_squares: what D drives fakes to."""
    b: float = 1.0
    """least_squares: what D drives reals to."""
    c: float = 1.0
    """least_squares: what G drives fakes to. a=-1, b=1, c=0 is Pearson's chi-squared (b - c = 1, b - a = 2)."""
    margin: PositiveFloat = 1.0
    """ebgan: energy up to which D pushes fakes."""
    clip: PositiveFloat | None = None
    """Bound that D's weights are cut back to after each of its updates, or null; 0.01 with wasserstein_clip."""
    penalties: Penalties = field(default_factory=Penalties)
    """Regularisers that combine with any loss."""
    order: tuple[Literal["D", "G"], Literal["D", "G"]] = ("D", "G")
    """Who moves first in an iteration."""
    fresh_batch: tuple[Literal["D", "G"], ...] = ("D",)
    """Phases that take a batch of their own from the stream; the others share the last one."""
    updates: dict[Literal["D", "G"], PositiveInt] = field(default_factory=dict)
    """Updates per iteration where they are not 1, such as {D: 5} for a critic."""
    tricks: Tricks = field(default_factory=Tricks)
    """Tricks that combine with any loss."""
