"""Keys under `game` for adversarial autoencoders."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import PositiveFloat, PositiveInt

from scalegan.config.schema import typed

if TYPE_CHECKING:
    from scalegan.config.recipe import Recipe


@typed
class AAE:
    """An autoencoder whose codes follow a prior, as a discriminator of codes tells (Makhzani et al., 2015)."""

    of_family: ClassVar[bool] = True
    name: Literal["aae"] = "aae"
    prior: Literal["gaussian", "mixture", "swiss_roll"] = "gaussian"
    """Distribution that the codes should follow; mixture and swiss_roll are two-dimensional."""
    prior_scale: PositiveFloat = 1.0
    """Factor that stretches the prior: the standard deviation of gaussian."""
    components: PositiveInt = 10
    """mixture: number of its Gaussians."""
    weight: PositiveFloat = 10.0
    """Weight of the reconstruction, the mean squared error per pixel, against the adversarial loss of the encoder."""
    hidden: PositiveInt = 1000
    """Units per hidden layer of the discriminator of codes."""
    layers: PositiveInt = 2
    """Hidden layers of the discriminator of codes."""

    def players(self, recipe: "Recipe") -> tuple[str, ...]:
        return "E", "Dec", "D"

    def problems(self, recipe: "Recipe") -> Iterator[str]:
        model = recipe.model
        if model.name not in ("dcgan", "mlp"):
            yield (f"game.name=aae makes its encoder from D's last features, which model.name={model.name} does not "
                   "expose; use dcgan or mlp")
        elif model.latent != "normal":
            yield f"model.latent={model.latent}: codes of game.name=aae follow game.prior; leave out model.latent"
        elif self.prior != "gaussian" and model.latent_dim != 2:
            yield (f"game.prior={self.prior} is two-dimensional, but model.latent_dim={model.latent_dim}; set "
                   "model.latent_dim=2, or game.prior=gaussian")
        if self.components != 10 and self.prior != "mixture":
            yield f"game.components applies only to game.prior=mixture, not {self.prior}; leave it out"
        if recipe.data.labels != "none":
            yield "game.name=aae learns without labels; set data.labels=none"
        if recipe.augment.name != "none":
            yield (f"augment.name={recipe.augment.name} augments images for D, but the D of game.name=aae sees codes; "
                   "use augment.name=none")
