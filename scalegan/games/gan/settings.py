"""Keys under `game` of the two-player game, and what a recipe of it must satisfy."""

from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import PositiveFloat, PositiveInt

from scalegan.config.penalties import Penalties, PullAway
from scalegan.config.schema import typed
from scalegan.config.tricks import Tricks

if TYPE_CHECKING:
    from scalegan.config.recipe import Recipe

_WITHOUT_SIGN = ("relativistic", "wasserstein", "wasserstein_clip", "wgan_gp", "ebgan", "ebgan_pt")


@typed
class GAN:
    """A generator against a discriminator."""

    of_family: ClassVar[bool] = True
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

    def players(self, recipe: "Recipe") -> tuple[str, ...]:
        return "G", "D"

    def problems(self, recipe: "Recipe") -> Iterator[str]:
        """Objectives, penalties and tricks that do not go together, each with what to do."""
        penalties, tricks, augment = self.penalties, self.tricks, recipe.augment
        energy, points = self.loss in ("ebgan", "ebgan_pt"), recipe.data.backend == "points"
        if self.order[0] == self.order[1]:
            yield "game.order must name D and G once each"
        if self.order[0] not in self.fresh_batch:
            yield f"game.fresh_batch must hold {self.order[0]}, which moves first"
        if self.loss == "relativistic" and not (penalties.r1 or penalties.gradient):
            yield "game.loss=relativistic needs a gradient penalty to converge; give game.penalties.r1.gamma"
        if self.loss != "least_squares" and (self.a, self.b, self.c) != (0.0, 1.0, 1.0):
            yield f"game.a, game.b and game.c belong to loss=least_squares, not to {self.loss}"
        if not energy and self.margin != 1.0:
            yield f"game.margin belongs to loss=ebgan and ebgan_pt, not to {self.loss}"
        if energy and recipe.data.labels != "none":
            yield f"game.loss={self.loss} has an auto-encoder for D, which knows no labels; use data.labels=none"
        if energy and tricks.minibatch_discrimination:
            yield f"game.loss={self.loss} has no layer that minibatch discrimination could feed; leave it out"
        if points and penalties.bcr:
            yield "data.backend=points makes 2-D points; game.penalties.bcr shifts images"
        if augment.name == "ada" and augment.target is not None and self.loss in _WITHOUT_SIGN:
            yield (f"augment.target watches the sign of D at reals, which tells nothing with game.loss={self.loss}; "
                   "give augment.target=null and augment.p")

    def groups(self, recipe: "Recipe") -> Mapping[str, int]:
        """Samples that penalties and tricks in effect are defined over, by key."""
        found = {f"game.tricks.{name}.group": getattr(self.tricks, name).group
                 for name in ("feature_matching", "minibatch_discrimination") if getattr(self.tricks, name)}
        if self.penalties.pull_away or self.loss == "ebgan_pt":
            found["game.penalties.pull_away.group"] = (self.penalties.pull_away or PullAway()).group
        return found
