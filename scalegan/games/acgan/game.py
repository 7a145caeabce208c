"""AC-GAN (Odena, Olah & Shlens, 2017): D says whether an image is real, and of which class."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalegan.augment import Augment
from scalegan.augment.choice import augment_of
from scalegan.data.spec import Spec
from scalegan.games.acgan import networks
from scalegan.games.base import Batch, Export, Game, Phase
from scalegan.games.fakes import plain_fakes
from scalegan.losses import LOSSES, Terms
from scalegan.models import families
from scalegan.models.layers.dropout import drawn_from
from scalegan.models.layers.tracked import NothingObserved

if TYPE_CHECKING:
    from scalegan.config import Recipe


def label_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """-log P(labels | x), a mean over samples: of classes [n] with a softmax over logits [n, K], or of attributes
    [n, K], each with a sigmoid of its own, summed over attributes."""
    if labels.dim() == 1:
        return F.cross_entropy(logits, labels)
    return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction="none").sum(1).mean()


class ACGAN(Game):
    """D maximises L_S + L_C, G maximises L_C - L_S (section 3), where

    L_S = E log P(S = real | x) + E log P(S = fake | G(z, c)),  L_C = E log P(C = c | x) + E log P(C = c | G(z, c)).

    Args:
        generator: (z, labels) -> images.
        discriminator: images -> logits [n], and those of the labels [n, K].
        loss: "non_saturating", or "minimax" for G's -L_S as printed.
        class_weight: of L_C.
        fakes_weight: of fakes in D's L_C, times `class_weight`.
        augment: applied to images before D sees them.
    """

    exports = {"G": Export(("G",)), "C": Export(("D",), ("image",), "logits", averaged=False)}

    def __init__(self, generator: nn.Module, discriminator: nn.Module, loss: str = "non_saturating",
                 class_weight: float = 1.0, fakes_weight: float = 1.0, augment: Augment | None = None) -> None:
        super().__init__()
        self.G, self.D, self.loss = generator, discriminator, LOSSES[loss]
        self.class_weight, self.fakes_weight, self.augment = class_weight, fakes_weight, augment or Augment()
        self.players = {"G": self.G, "D": self.D}
        self.compiled = dict(self.players)
        self.phases = [Phase("D", ("D",), self.discriminator_loss),
                       Phase("G", ("G",), self.generator_loss, fresh_batch=False)]

    @classmethod
    def make(cls, recipe: "Recipe", specs: Mapping[str, Spec]) -> "ACGAN":
        game, model, spec = recipe.game, recipe.model, next(iter(specs.values()))
        if game.networks == "paper":
            generator = networks.Generator(spec.shape[0], model.latent_dim, spec.classes, model.norm_group,
                                           model.latent)
            plain = networks.Discriminator(spec.shape[0], model.norm_group)
        else:
            generator = families.generator(model, spec)
            plain = families.discriminator(model, replace(spec, classes=0, attributes=0))
        return cls(generator, networks.Classifying(plain, spec.num_classes), game.loss, game.class_weight,
                   game.fakes_weight, augment_of(recipe))

    @classmethod
    def compose(cls, export: Export, parts: Sequence[nn.Module]) -> nn.Module:
        return networks.Classifier(*parts) if export.output == "logits" else parts[0]

    def discriminator_loss(self, batch: Batch) -> Terms:
        """Reals have their own labels, fakes those of random records."""
        labels = batch.condition()
        with torch.no_grad():
            fakes = plain_fakes(self.compiled["G"], batch, labels)
        real, real_classes = self.seen(batch.reals, batch, "real")
        with NothingObserved():     # D's running statistics are those of reals, for export C
            fake, fake_classes = self.seen(fakes, batch, "fake")
        batch.figures.update(real_logit=real.mean(), fake_logit=fake.mean(), **self.augment.watch(real, batch.images))
        terms = self.loss.discriminator(real, fake)
        terms["real_class"] = self.class_weight * label_loss(real_classes, batch.labels)
        terms["fake_class"] = self.class_weight * self.fakes_weight * label_loss(fake_classes, labels)
        return terms

    def generator_loss(self, batch: Batch) -> Terms:
        labels = batch.condition()
        fake, classes = self.seen(plain_fakes(self.compiled["G"], batch, labels), batch, "fake")
        return self.loss.generator(fake, None) | {"class": self.class_weight * label_loss(classes, labels)}

    def seen(self, images: Tensor, batch: Batch, side: str) -> tuple[Tensor, Tensor]:
        """What D says of images after augmentation."""
        with drawn_from(batch.draws.of(side), self.D):
            return self.compiled["D"](self.augmented(images, batch, side))
