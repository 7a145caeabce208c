"""Keys under `game` for adversarial variational Bayes."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from scalegan.config.schema import typed

if TYPE_CHECKING:
    from scalegan.config.recipe import Recipe


@typed
class AVB:
    """A variational autoencoder whose posterior is any network of image and noise, as another network, T, learns its
    KL divergence from the prior (Mescheder et al., 2017)."""

    of_family: ClassVar[bool] = True
    name: Literal["avb"] = "avb"
    likelihood: Literal["bernoulli", "gaussian"] = "bernoulli"
    """p(x | z). bernoulli: pixels are black or white, drawn anew in each batch with the stored brightness as the
    probability of white. gaussian: the decoder's image plus noise of `deviation`."""
    deviation: PositiveFloat = 0.1
    """gaussian: standard deviation of the noise, where pixels go from -1 to 1."""
    adaptive_contrast: Literal[0] | Annotated[int, Field(ge=2)] = 0
    """Number of noises per image from which to estimate mean and deviation of the posterior, by which T's codes are
    then normalised; 0 for none."""
    half_norm: bool = False
    """Add |z|^2 / 2 to T, as the published code does without adaptive contrast and the paper does not: at first, T is
    then close to -log p(z)."""
    noise_dim: PositiveInt = 32
    """Dimension of the encoder's noise."""
    hidden: PositiveInt = 300
    """Units of the layers where image meets noise in the encoder, and image meets code in T."""

    def players(self, recipe: "Recipe") -> tuple[str, ...]:
        return "E", "Dec", "T"

    def problems(self, recipe: "Recipe") -> Iterator[str]:
        model = recipe.model
        if model.name not in ("dcgan", "mlp"):
            yield (f"game.name=avb makes E and T from D's last features, which model.name={model.name} does not "
                   "expose; use dcgan or mlp")
        elif model.latent != "normal":
            yield f"model.latent={model.latent}: the prior of game.name=avb is N(0, I); leave out model.latent"
        if self.likelihood == "bernoulli" and self.deviation != 0.1:
            yield "game.deviation applies only to game.likelihood=gaussian, not bernoulli; leave it out"
        if self.likelihood == "bernoulli" and recipe.data.backend == "points":
            yield "game.likelihood=bernoulli needs pixels, not data.backend=points; use game.likelihood=gaussian"
        if self.half_norm and self.adaptive_contrast:
            yield "game.half_norm is for T without game.adaptive_contrast; leave one of them out"
        if recipe.data.labels != "none":
            yield "game.name=avb learns without labels; set data.labels=none"
        if recipe.augment.name != "none":
            yield (f"augment.name={recipe.augment.name} would augment the images whose likelihood game.name=avb "
                   "maximises; use augment.name=none")
