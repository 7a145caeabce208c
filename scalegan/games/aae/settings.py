"""Keys under `game` for adversarial autoencoders."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from scalegan.config.schema import typed
from scalegan.data.spec import Link, Own

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
    """Weight of the reconstruction, the mean squared error per pixel, against the other losses of the encoder."""
    semi_supervised: bool = False
    """Split the code into the class, which a second discriminator holds to one-hot vectors and the labels of the stream
    `labelled` supervise, and the style, which follows the prior."""
    input_noise: NonNegativeFloat = 0.0
    """Standard deviation of the Gaussian noise on the encoder's images in training; the paper's 0.3 for pixels from 0
    to 1, in its semi-supervised networks, is 0.6 for ours, from -1 to 1."""
    hidden: PositiveInt = 1000
    """Units per hidden layer of the discriminators of codes."""
    layers: PositiveInt = 2
    """Hidden layers of the discriminators of codes."""

    def players(self, recipe: "Recipe") -> tuple[str, ...]:
        return ("E", "Dec", "D", "D_y") if self.semi_supervised else ("E", "Dec", "D")

    def streams(self, recipe: "Recipe") -> Mapping[str, Link]:
        return {"real": Own(), "labelled": Own()} if self.semi_supervised else {"real": Own()}

    def problems(self, recipe: "Recipe") -> Iterator[str]:
        model = recipe.model
        if model.name == "autoencoder_kl":
            yield from self._spatial_problems(recipe)
        elif model.name not in ("dcgan", "mlp"):
            yield (f"game.name=aae makes its encoder from D's last features, which model.name={model.name} does not "
                   "expose; use dcgan, mlp or autoencoder_kl")
        elif model.latent != "normal":
            yield f"model.latent={model.latent}: codes of game.name=aae follow game.prior; leave out model.latent"
        elif self.prior != "gaussian" and model.latent_dim != 2:
            yield (f"game.prior={self.prior} is two-dimensional, but model.latent_dim={model.latent_dim}; set "
                   "model.latent_dim=2, or game.prior=gaussian")
        if self.components != 10 and self.prior != "mixture":
            yield f"game.components applies only to game.prior=mixture, not {self.prior}; leave it out"
        yield from self._label_problems(recipe)
        if recipe.augment.name != "none":
            yield (f"augment.name={recipe.augment.name} augments images for D, but the D of game.name=aae sees codes; "
                   "use augment.name=none")

    def _spatial_problems(self, recipe: "Recipe") -> Iterator[str]:
        """What codes with height and width need."""
        model = recipe.model
        if self.semi_supervised:
            yield "game.semi_supervised=true splits codes that are vectors; use model.name=dcgan or mlp"
        if self.prior != "gaussian":
            yield f"game.prior={self.prior} is two-dimensional; set game.prior=gaussian for model.name=autoencoder_kl"
        if uneven := [width for width in model.widths if width % model.groups]:
            yield f"model.groups={model.groups} does not divide {uneven[0]} of model.widths; change one of them"
        halved = 2 ** (len(model.widths) - 1)
        if any(side % halved for side in recipe.data.sides):
            yield (f"model.widths has {len(model.widths)} resolutions, for images whose sides are multiples of "
                   f"{halved}, not {recipe.data.resolution}; change model.widths or data.resolution")

    def _label_problems(self, recipe: "Recipe") -> Iterator[str]:
        labels = recipe.data.labels
        if not self.semi_supervised and labels != "none":
            yield "game.name=aae learns without labels; set data.labels=none, or game.semi_supervised=true"
        if self.semi_supervised and labels == "attributes":
            yield "game.semi_supervised=true learns classes, not attributes; set data.labels=class or none"
        if self.semi_supervised and recipe.streams["labelled"].labels != "class":
            yield "game.semi_supervised=true learns classes from the stream labelled; set streams.labelled.labels=class"
