"""Keys under `game` for adversarial flow models."""

from collections.abc import Iterator
from dataclasses import field
from typing import TYPE_CHECKING, Literal

from pydantic import NonNegativeFloat

from scalegan.config.schedule import Schedule
from scalegan.config.schema import Beta, typed
from scalegan.games.gan.settings import GAN

if TYPE_CHECKING:
    from scalegan.config.recipe import Recipe


@typed
class AdversarialFlow(GAN):
    """G moves noise of a sample's shape to a sample, in one step, as near as D lets it (Lin et al., 2025, "Adversarial
    Flow Models")."""

    name: Literal["adversarial_flow"] = "adversarial_flow"
    loss: Literal["relativistic"] = "relativistic"
    """Adversarial loss on logits; the paper's pairs reals and fakes."""
    transport: NonNegativeFloat | Schedule = field(
        default_factory=lambda: Schedule(start=0.2, end=0.005, images=512_000_000))
    """Weight of the mean squared distance between noise and the sample that G makes of it. Published: from 0.2 to 0.005
    over 1,000,000 updates of 256 images, here counted for D and for G."""
    centring: NonNegativeFloat = 0.01
    """Weight of the mean squared sum of D's logits of a real and a fake, a term of D that keeps them around 0."""
    gradient_decay: Beta | None = 0.9
    """Decay of the mean square by which the gradient that G gets from D is normalised, so that `transport` means the
    same for any D; null leaves the gradient as it is."""

    def problems(self, recipe: "Recipe") -> Iterator[str]:
        yield from super().problems(recipe)
        if recipe.model.name != "gat":
            yield (f"game.name=adversarial_flow makes samples of noise of their own shape, which model.name="
                   f"{recipe.model.name} does not take; use model.name=gat")
        elif recipe.model.outputs != 1:
            yield "game.name=adversarial_flow has a single output; set model.outputs=1"
        if self.tricks.latent_mixture:
            yield ("game.tricks.latent_mixture learns the latents' distribution, which game.name=adversarial_flow "
                   "transports; leave it out")
