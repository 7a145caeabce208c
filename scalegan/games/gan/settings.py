"""Keys under `game` for the two-player game, and checks of its recipes."""

from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import PositiveFloat, PositiveInt

from scalegan.config import requirements
from scalegan.config.models import Projected
from scalegan.config.penalties import GradientNorm, Penalties, PullAway
from scalegan.config.schema import typed
from scalegan.config.tricks import Tricks

if TYPE_CHECKING:
    from scalegan.config.recipe import Recipe

_OF_ONE_LOGIT = ("relativistic", "wgan_gp", "ebgan", "ebgan_pt")       # an image, as D or a penalty that they need


@typed
class GAN:
    """A generator against a discriminator."""

    of_family: ClassVar[bool] = True
    with_latents: ClassVar[bool] = True
    name: Literal["gan"] = "gan"
    loss: Literal["non_saturating", "minimax", "hinge", "least_squares", "wasserstein", "wasserstein_clip", "wgan_gp",
                  "ebgan", "ebgan_pt", "relativistic", "f_kl", "f_reverse_kl", "f_js", "f_hellinger", "f_pearson",
                  "b_kl", "b_pearson"] = "non_saturating"
    """Adversarial loss on logits. wasserstein_clip is wasserstein with `clip`, and wgan_gp is wasserstein with
    `penalties.gradient`, at the papers' values unless set; ebgan_pt is ebgan with `penalties.pull_away`. With ebgan, D
    is an auto-encoder."""
    discriminator: Projected | None = None
    """D beside the family's generator, or null for the family's own."""
    a: float = 0.0
    """least_squares: D's target for fakes."""
    b: float = 1.0
    """least_squares: D's target for reals."""
    c: float = 1.0
    """least_squares: G's target for fakes. a=-1, b=1, c=0 gives Pearson's chi-squared (b - c = 1, b - a = 2)."""
    margin: PositiveFloat = 1.0
    """ebgan: energy up to which D pushes fakes."""
    clip: PositiveFloat | None = None
    """Clips D's weights to [-clip, clip] after each of its updates, or null; 0.01 with wasserstein_clip."""
    penalties: Penalties = field(default_factory=Penalties)
    """Regularisers that combine with any loss."""
    order: tuple[Literal["D", "G"], Literal["D", "G"]] = ("D", "G")
    """Order in which the players move in an iteration."""
    fresh_batch: tuple[Literal["D", "G"], ...] = ("D",)
    """Phases that take a batch of their own from the stream; the others reuse the last one."""
    updates: dict[Literal["D", "G"], PositiveInt] = field(default_factory=dict)
    """Updates per iteration where they are not 1, such as {D: 5} for a critic."""
    tricks: Tricks = field(default_factory=Tricks)
    """Tricks that combine with any loss."""

    def players(self, recipe: "Recipe") -> tuple[str, ...]:
        return "G", "D"

    def problems(self, recipe: "Recipe") -> Iterator[str]:
        """Objectives, penalties and tricks that are incompatible, each with a remedy."""
        penalties, tricks = self.penalties, self.tricks
        energy, points = self.loss in ("ebgan", "ebgan_pt"), recipe.data.backend == "points"
        if self.discriminator:
            yield from self._problems_if_projected(recipe)
        if self.order[0] == self.order[1]:
            yield "game.order must name D and G once each"
        if self.order[0] not in self.fresh_batch:
            yield f"game.fresh_batch must include {self.order[0]}, which moves first"
        if self.loss == "relativistic" and not (penalties.r1 or penalties.gradient):
            yield "game.loss=relativistic needs a gradient penalty to converge; set game.penalties.r1.gamma"
        for name in ("r1", "r2"):
            yield from _only_approximated(name, getattr(penalties, name))
        if self.loss != "least_squares" and (self.a, self.b, self.c) != (0.0, 1.0, 1.0):
            yield f"game.a, game.b and game.c apply only to game.loss=least_squares, not {self.loss}; leave them out"
        if not energy and self.margin != 1.0:
            yield f"game.margin applies only to game.loss=ebgan and ebgan_pt, not {self.loss}; leave it out"
        if energy and recipe.data.labels != "none":
            yield f"game.loss={self.loss} uses an auto-encoder as D, which takes no labels; set data.labels=none"
        if energy and tricks.minibatch_discrimination:
            yield (f"game.loss={self.loss} has no layer for minibatch discrimination to feed; leave out "
                   "game.tricks.minibatch_discrimination")
        if recipe.data.latents and (energy or self.discriminator):
            key = f"game.loss={self.loss} has" if energy else "game.discriminator is"
            yield (f"{key} a D for images, and data.latents={recipe.data.latents} are none; use another D")
        if points and penalties.bcr:
            yield "game.penalties.bcr shifts images, but data.backend=points has 2-D points; leave out bcr"
        if penalties.path_length and recipe.model.name != "stylegan2":
            yield (f"game.penalties.path_length needs a style-based generator, which model.name={recipe.model.name} is "
                   "not; use model.name=stylegan2, or game.penalties.path_length=null")
        if tricks.san:
            yield from self._problems_if_sliced()
        if tricks.latent_mixture and recipe.model.name == "stylegan2":
            yield ("game.tricks.latent_mixture needs a generator that takes z itself, but model.name=stylegan2 maps it "
                   "to styles first; leave it out, or use another family")
        if tricks.alignment:
            yield from self._problems_if_aligned(recipe)
        yield from requirements.sign_of_reals(recipe, centred=self.a == -self.b)

    def _problems_if_aligned(self, recipe: "Recipe") -> Iterator[str]:
        """What does not go with a D that predicts a frozen network's features."""
        key = "game.tricks.alignment"
        if recipe.model.name != "gat" or self.discriminator or self.tricks.minibatch_discrimination:
            yield f"{key} needs the tokens of model.name=gat's own discriminator; use that alone, or leave it out"
        if self.tricks.san:
            yield f"{key} has not been combined with game.tricks.san; leave one of them out"
        if recipe.augment.name == "ada":
            yield f"{key} follows DiffAugment's shifts, not ADA's; set augment.name=diffaugment or none"

    def _problems_if_projected(self, recipe: "Recipe") -> Iterator[str]:
        """What does not go with a projected D, which gives an image many logits."""
        key, penalties, tricks = f"game.discriminator.name={self.discriminator.name}", self.penalties, self.tricks
        if self.name != "gan":
            yield f"game.discriminator applies only to game.name=gan, not {self.name}; leave it out"
        if recipe.data.backend == "points":
            yield f"{key} sees images, but data.backend=points has 2-D points; leave out game.discriminator"
        if self.loss in _OF_ONE_LOGIT:
            yield f"{key} does not go with game.loss={self.loss}; use hinge, as Projected GAN does"
        for name in ("r1", "r2", "gradient"):
            if getattr(penalties, name):
                yield (f"game.penalties.{name} takes D's gradient by one logit an image, and {key} has many; leave it "
                       "out, as Projected GAN does")
        for name, found in (("penalties.pull_away", penalties.pull_away),
                            ("tricks.feature_matching", tricks.feature_matching),
                            ("tricks.minibatch_discrimination", tricks.minibatch_discrimination)):
            if found:
                yield f"game.{name} needs the last features of a family's D, which {key} replaces; leave it out"

    def _problems_if_sliced(self) -> Iterator[str]:
        """What leaves SAN's last layer no direction of its own, or no last layer."""
        if self.loss in ("ebgan", "ebgan_pt"):
            yield f"game.tricks.san needs D's last layer, but game.loss={self.loss} uses an auto-encoder; leave it out"
        if self.loss in ("wasserstein", "wasserstein_clip", "wgan_gp"):
            yield (f"game.tricks.san trains the direction of D's last layer as game.loss={self.loss} does without it; "
                   "leave it out, or use hinge")
        if self.loss == "least_squares" and self.b <= self.a:
            yield (f"game.tricks.san needs a D whose logits of reals are the higher ones, but game.a={self.a:g} is not "
                   f"below game.b={self.b:g}; exchange them, or leave out game.tricks.san")
        if self.tricks.minibatch_discrimination:
            yield ("game.tricks.minibatch_discrimination adds inputs to D's last layer, which game.tricks.san takes as "
                   "it is; leave one of them out")

    def groups(self, recipe: "Recipe") -> Mapping[str, int]:
        """Group sizes of the penalties and tricks in use, by key."""
        found = {f"game.tricks.{name}.group": getattr(self.tricks, name).group
                 for name in ("feature_matching", "minibatch_discrimination") if getattr(self.tricks, name)}
        if self.penalties.pull_away or self.loss == "ebgan_pt":
            found["game.penalties.pull_away.group"] = (self.penalties.pull_away or PullAway()).group
        if self.discriminator:
            found["game.discriminator.norm_group"] = self.discriminator.norm_group
        return found


def _only_approximated(name: str, keys: GradientNorm | None) -> Iterator[str]:
    """Keys of a finite difference that an exact penalty would leave unused."""
    if keys is None or keys.method == "finite_difference":
        return
    for key in ("sigma", "antithetic", "share", "noise"):
        if getattr(keys, key) != getattr(GradientNorm(), key):
            yield (f"game.penalties.{name}.{key} applies only to game.penalties.{name}.method=finite_difference; set "
                   "that, or leave it out")
