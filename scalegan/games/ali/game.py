"""Adversarially learned inference (Dumoulin et al., 2017): BiGAN's game with a stochastic encoder."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from scalegan.data.spec import Spec
from scalegan.games.ali import networks
from scalegan.games.base import Batch
from scalegan.games.bigan.game import BiGAN

if TYPE_CHECKING:
    from scalegan.config import Recipe


class ALI(BiGAN):
    """z is drawn from q(z | x) = N(mu(x), sigma(x)^2), and D has dropout (algorithm 1)."""

    @classmethod
    def make(cls, recipe: "Recipe", specs: Mapping[str, Spec]) -> "ALI":
        settings, channels = recipe.game, next(iter(specs.values())).shape[0]
        if settings.networks == "dense":
            return super().make(recipe, specs)
        sizes = {"channels": channels, "width": settings.width, "latent_dim": settings.latent_dim}
        both = {**sizes, "latent": settings.latent, "norm_group": settings.norm_group}
        return cls(networks.Generator(**both), networks.Encoder(stochastic=settings.encoder == "stochastic", **both),
                   networks.Discriminator(halve=settings.halve_channels, **sizes), **cls.weights(settings))

    def logits(self, pair: tuple[Tensor, Tensor], batch: Batch, side: str) -> Tensor:
        if not isinstance(self.D, networks.Discriminator):
            return super().logits(pair, batch, side)
        return self.compiled["D"](*pair, self.D.masks(batch.draws.of(f"dropout/{side}")))
