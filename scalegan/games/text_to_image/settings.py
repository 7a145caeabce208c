"""Keys under `game` for text to image."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import NonNegativeFloat, PositiveInt

from scalegan.config.schema import Share, typed
from scalegan.games.gan.settings import GAN

if TYPE_CHECKING:
    from scalegan.config.recipe import Recipe


@typed
class ConditioningAugmentation:
    """G's condition is drawn from a Gaussian that the text gives (Zhang et al., 2017, StackGAN, section 3.1)."""

    dim: PositiveInt = 128
    """Length of the condition."""
    weight: NonNegativeFloat = 2.0
    """Weight of the divergence of that Gaussian from N(0, I), a mean over dimensions as in the published code."""


@typed
class TextToImage(GAN):
    """A generator from text (Reed et al., 2016): D also learns to refuse real images with another's text (GAN-CLS), and
    G also learns from texts between two others (GAN-INT). Every loss and penalty of game.name=gan combines with it."""

    with_latents: ClassVar[bool] = False
    name: Literal["text_to_image"] = "text_to_image"
    matching_aware: bool = True
    """D learns from real images with the text of another, too; they and the fakes count half each (GAN-CLS)."""
    interpolated: NonNegativeFloat = 0.5
    """Weight of texts interpolated between two, of which G makes images besides those of its texts, relative to them
    (GAN-INT); 0 leaves them out. The published code adds half as many as there are texts; here it is as many, which
    fill the norm groups, at half the weight."""
    beta: Share = 0.5
    """Share of the first text in an interpolated one."""
    conditioning_augmentation: ConditioningAugmentation | None = None
    """Draw G's condition from a Gaussian around the text, or null."""

    def problems(self, recipe: "Recipe") -> Iterator[str]:
        yield from super().problems(recipe)
        if recipe.data.labels != "vectors":
            yield (f"game.name={self.name} needs texts as vectors; prepare the data with --captions, and set "
                   "data.labels=vectors")
        if self.beta != 0.5 and not self.interpolated:
            yield "game.beta has no effect with game.interpolated=0; set game.interpolated, or leave it out"
        if self.conditioning_augmentation and recipe.model.name == "stylegan2":
            yield ("game.conditioning_augmentation needs a generator that takes its condition itself, but "
                   "model.name=stylegan2 maps it to styles first; leave it out, or use another family")
        if self.conditioning_augmentation and self.tricks.latent_mixture:
            yield ("game.tricks.latent_mixture would replace the noise of game.conditioning_augmentation, too; leave "
                   "one of them out")
