"""Semi-supervised learning with a GAN (Salimans et al., 2016, section 5): a classifier that tells real from fake."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalegan import penalties
from scalegan.augment import Augment
from scalegan.augment.choice import augment_of
from scalegan.data.spec import Spec
from scalegan.games.base import Batch, Export, Game, Phase
from scalegan.games.fakes import plain_fakes
from scalegan.games.labelled import classes_of, watch_error
from scalegan.games.ssgan import networks
from scalegan.losses import LOSSES, Terms
from scalegan.models import families
from scalegan.models.layers.dropout import drawn_from
from scalegan.models.layers.tracked import NothingObserved

if TYPE_CHECKING:
    from scalegan.config import Recipe


class SSGAN(Game):
    """D minimises L_supervised + L_unsupervised, where D(x) = 1 - p(K + 1 | x) is the probability that x is real and

    L_supervised = -E log p(y | x, y < K + 1),  L_unsupervised = -E log D(x) - E log(1 - D(G(z))).

    The first is over the stream `labelled`, the second over the first stream, whose labels are not used. G matches the
    mean of D's last features over real images (section 3.1).

    Args:
        generator: z -> images.
        discriminator: images -> logits of K classes [n, K]; has `features`.
        weight: of L_unsupervised.
        group: consecutive samples whose mean features are compared.
        augment: applied to all images before D sees them.
        averaged: `classify` uses D's moving averages, which BatchNorm statistics, those of the current weights, do not
            fit.
    """

    def __init__(self, generator: nn.Module, discriminator: nn.Module, weight: float = 1.0, group: int = 25,
                 augment: Augment | None = None, averaged: bool = True) -> None:
        super().__init__()
        self.G, self.D, self.loss = generator, discriminator, LOSSES["non_saturating"]
        self.weight, self.group, self.augment = weight, group, augment or Augment()
        self.players = {"G": self.G, "D": self.D}
        self.compiled = dict(self.players)
        self.exports = {"G": Export(("G",), ("z",)), "classify": Export(("D",), ("image",), "logits", averaged)}
        self.phases = [Phase("D", ("D",), self.discriminator_loss),
                       Phase("G", ("G",), self.generator_loss, fresh_batch=False)]

    @classmethod
    def make(cls, recipe: "Recipe", specs: Mapping[str, Spec]) -> "SSGAN":
        game, spec, classes = recipe.game, replace(specs["real"], classes=0), classes_of(specs)
        if game.of_family:
            generator, trunk = families.build(recipe.model, spec)
            discriminator = networks.Classes(trunk, classes)
        else:
            generator = networks.Generator(spec.shape, game.group)
            discriminator = networks.Discriminator(spec.shape, classes)
        with_norm = game.of_family and recipe.model.name == "dcgan"
        return cls(generator, discriminator, game.unlabelled_weight, game.group, augment_of(recipe), not with_norm)

    def discriminator_loss(self, batch: Batch) -> Terms:
        labelled, discriminator = batch.streams["labelled"], self.compiled["D"]
        with torch.no_grad():
            fakes = plain_fakes(self.compiled["G"], batch, None)
        logits = self.seen(discriminator, labelled.data, batch, "labelled")
        of_reals = self.seen(discriminator, batch.reals, batch, "real")
        with NothingObserved():     # D's running statistics are those of real images, for `classify`
            of_fakes = self.seen(discriminator, fakes, batch, "fake")
        real, fake = networks.realness(of_reals), networks.realness(of_fakes)
        watch_error(batch, of_reals)
        batch.figures.update(real_logit=real.mean(), fake_logit=fake.mean(), **self.augment.watch(real, batch.images))
        unsupervised = {name: self.weight * term for name, term in self.loss.discriminator(real, fake).items()}
        return {"label": F.cross_entropy(logits, labelled.condition), **unsupervised}

    def generator_loss(self, batch: Batch) -> Terms:
        """|E f(x) - E f(G(z))|^2, a mean over D's last features f."""
        of_fakes = self.seen(self.D.features, plain_fakes(self.compiled["G"], batch, None), batch, "fake")
        of_reals = self.seen(self.D.features, batch.reals, batch, "real").detach()
        return {"feature_matching": penalties.feature_matching(of_fakes, of_reals, self.group)}

    def seen(self, by: Callable[[Tensor], Tensor], images: Tensor, batch: Batch, side: str) -> Tensor:
        """What D, or its `features`, makes of images after augmentation, with noise of its own for every side."""
        with drawn_from(batch.draws.of(side), self.D):
            return by(self.augmented(images, batch, side))
