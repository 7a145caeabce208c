"""Keys under `game` for pix2pix."""

from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Literal

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from scalegan.config import requirements
from scalegan.config.schema import typed
from scalegan.data.spec import Link, Own, PairedWith

if TYPE_CHECKING:
    from scalegan.config.recipe import Recipe

PAIRED, TARGET, INPUT = "paired", "target", "input"


@typed
class ImagePairs:
    """Keys of games that turn an image into another by a loss on pairs."""

    adversarial_weight: NonNegativeFloat = 1.0
    """Weight of the adversarial term in G's loss; 0 trains G by the distance alone, and leaves D as it is."""
    pixel: Literal["l1", "l2", "none"] = "l1"
    """Distance between answer and target in G's loss: mean absolute or mean squared difference, or none."""
    pixel_weight: NonNegativeFloat = 100.0
    """Weight of that distance."""
    feature_matching: NonNegativeFloat = 0.0
    """Weight of the mean absolute difference between D's features of answer and target in G's loss, averaged over
    layers (Wang et al., 2018, eq. 4 and 5, who sum over layers and take 10); 0 for none."""
    margin: PositiveFloat = 1.0
    """ebgan: energy up to which D pushes answers."""
    clip: PositiveFloat | None = None
    """wasserstein_clip: D's weights are clipped to [-clip, clip] after each of its updates; null is 0.01."""
    gradient_penalty: NonNegativeFloat = 10.0
    """wgan_gp: weight of the gradient penalty."""
    updates: dict[Literal["D", "G"], PositiveInt] = field(default_factory=dict)
    """Updates per iteration where they are not 1, such as {D: 5} for a critic."""

    def players(self, recipe: "Recipe") -> tuple[str, ...]:
        return "G", "D"

    def streams(self, recipe: "Recipe") -> Mapping[str, Link]:
        return {TARGET: Own(), INPUT: PairedWith(TARGET)} if self.input == PAIRED else {TARGET: Own()}

    def problems(self, recipe: "Recipe") -> Iterator[str]:
        yield from requirements.image_to_image(recipe)
        if recipe.data.labels != "none":
            yield f"game.name={self.name} learns from pairs without labels; set data.labels=none"
        if recipe.augment.name != "none":
            yield (f"game.name={self.name} has no use for augmentation: D sees input and answer together; set "
                   "augment.name=none")
        if self.pixel == "none" and not (self.adversarial_weight or self.feature_matching):
            yield "game.adversarial_weight=0 and game.pixel=none leave G nothing to learn from; set one of them"
        if self.feature_matching and self.loss.startswith("ebgan"):
            yield "game.feature_matching compares features of patches, and D of ebgan has none; leave it out"
        if self.loss != "ebgan" and (self.adversarial_weight or self.feature_matching):
            yield from requirements.patches(recipe)
        for key, only in (("clip", "wasserstein_clip"), ("gradient_penalty", "wgan_gp"), ("margin", "ebgan")):
            if self.loss != only and getattr(self, key) != getattr(ImagePairs(), key):
                yield f"game.{key} applies only to game.loss={only}, not {self.loss}; leave it out"

    def groups(self, recipe: "Recipe") -> Mapping[str, int]:
        return requirements.norm_groups(recipe)


@typed
class Pix2Pix(ImagePairs):
    """A generator from image to image; D sees patches of input and answer together (Isola et al., 2017)."""

    name: Literal["pix2pix"] = "pix2pix"
    input: Literal["paired", "grey", "edges", "lightness", "low2", "low4"] = "paired"
    """What G gets. paired: the image of the same key from streams.input.path, whose target is in data.path. Or an input
    made from the target itself: grey; edges, dark on white; lightness, CIE L*, for which G answers with a* and b*; low2
    and low4, the image at a half or a quarter of its resolution, enlarged."""
    loss: Literal["non_saturating", "minimax", "hinge", "least_squares", "wasserstein_clip", "wgan_gp", "ebgan",
                  "relativistic", "f_kl", "f_reverse_kl", "f_js", "f_hellinger", "f_pearson"] = "non_saturating"
    """Adversarial loss on D's logits, a mean over patches."""
