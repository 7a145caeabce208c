"""MAD-GAN (Ghosh et al., 2018): each generator has to find images of its own, as D tells the generators apart."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from scalegan.augment import Augment
from scalegan.augment.choice import augment_of
from scalegan.data.spec import Spec
from scalegan.games.base import Batch, Export, Game, Phase, Preview
from scalegan.games.madgan.losses import GENERATOR_TERMS, discriminator_terms
from scalegan.games.madgan.networks import Classes, SeveralGenerators
from scalegan.games.sampling import latents
from scalegan.losses import Terms
from scalegan.models import families

if TYPE_CHECKING:
    from scalegan.config import Recipe


class MADGAN(Game):
    """D has K + 1 classes, real and the K generators; every generator wants its fakes to be classified as real
    (section 3). At the equilibrium, the data is the equal mixture of what the generators make (theorem 1).

    Args:
        generator: the K generators in one network.
        discriminator: samples -> logits [n, K + 1], real last.
        loss: the generators' loss, of D's logits of fakes.
        augment: applied to samples before D sees them.
    """

    exports = {"G": Export(("G",), ("z",))}

    def __init__(self, generator: SeveralGenerators, discriminator: nn.Module, loss: Callable[[Tensor], Terms],
                 augment: Augment | None = None) -> None:
        super().__init__()
        self.G, self.D, self.loss, self.augment = generator, discriminator, loss, augment or Augment()
        self.players = {"G": self.G, "D": self.D}
        self.compiled = dict(self.players)
        self.phases = [Phase("D", ("D",), self.discriminator_loss),
                       Phase("G", ("G",), self.generator_loss, fresh_batch=False)]

    @classmethod
    def make(cls, recipe: "Recipe", specs: Mapping[str, Spec]) -> "MADGAN":
        spec, count = next(iter(specs.values())), recipe.game.generators
        of_all = replace(spec, shape=(count * spec.shape[0], *spec.shape[1:]))
        return cls(SeveralGenerators(families.generator(recipe.model, of_all), count),
                   Classes(families.discriminator(recipe.model, spec), count + 1), GENERATOR_TERMS[recipe.game.loss],
                   augment_of(recipe))

    def discriminator_loss(self, batch: Batch) -> Terms:
        z = latents(self.G, batch.draws)
        with torch.no_grad():
            fakes = self.compiled["G"](z)
        real, fake = self.seen(batch.reals, batch, "real"), self.seen(fakes, batch, "fake")
        ratio = log_ratio(real)
        batch.figures.update(real_logit=ratio.mean(), fake_logit=log_ratio(fake).mean(),
                             **self.augment.watch(ratio, batch.images))
        return discriminator_terms(real, fake, self.G.makers(z))

    def generator_loss(self, batch: Batch) -> Terms:
        return self.loss(self.seen(self.compiled["G"](latents(self.G, batch.draws)), batch, "fake"))

    def seen(self, images: Tensor, batch: Batch, side: str) -> Tensor:
        """D's logits after augmentation."""
        return self.compiled["D"](self.augmented(images, batch, side))

    @torch.no_grad()
    def draw(self, networks: Mapping[str, nn.Module], preview: Preview) -> Mapping[str, Tensor]:
        """A column for each generator in turn."""
        z = latents(self.G, preview.draws)
        makers = torch.arange(len(z), device=z.device) % preview.columns % self.G.count
        z[:, -self.G.count :] = one_hot(makers, self.G.count).to(z.dtype)
        return {"samples": torch.cat([networks["G"](part) for part in z.split(preview.at_once or len(z))])}


def log_ratio(logits: Tensor) -> Tensor:
    """log p / q [n] of data and the generators' mixture, as D sees it: positive for what D takes for real."""
    return logits[:, -1] - logits[:, :-1].logsumexp(1) + math.log(logits.shape[1] - 1)
