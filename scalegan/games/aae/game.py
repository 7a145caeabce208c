"""Adversarial autoencoder (Makhzani et al., 2015): D makes the encoder's codes follow a prior."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalegan.data.spec import Spec
from scalegan.games.aae.networks import ClassDecoder, Classify, Encode, Encoder, Latent, Reconstruct
from scalegan.games.aae.priors import Prior
from scalegan.games.aae.spatial import SpatialDecoder, SpatialEncoder, code_shape
from scalegan.games.base import Batch, Export, Game, Phase, Preview
from scalegan.games.labelled import classes_of, watch_error
from scalegan.games.reconstructions import beside_samples
from scalegan.losses import LOSSES, Terms
from scalegan.models import families, mlp
from scalegan.models.autoencoder_kl import Sizes

if TYPE_CHECKING:
    from scalegan.config import Recipe


class AAE(Game):
    """Each iteration has three phases on one batch (section 2 of the paper): the autoencoder reconstructs; D learns to
    tell codes drawn from the prior (real) from the encoder's (fake); the encoder learns to fool D.

    The semi-supervised game (section 5) splits the code into style z and class y, a softmax. A second discriminator D_y
    compares y with one-hot vectors of uniform classes, in the same phases as D; a fourth phase minimises the cross
    entropy of y on a batch of the stream `labelled`.

    The paper gives the reconstruction and the regularisation of E separate optimizers. Here E has one, as has every
    player, so `weight` balances the two.

    Args:
        encoder: images -> codes, and logits of the class; decoder: codes -> images, with a `Latent` as its latent.
        discriminator: codes -> logits [N].
        class_discriminator: distributions over classes -> logits [N]; makes the game semi-supervised.
        weight: of the reconstruction.
        noise: standard deviation of the noise on the encoder's images.
    """

    exports = {"Dec": Export(("Dec",), ("z",)), "encode": Export(("E",), ("image",), "vector"),
               "reconstruct": Export(("E", "Dec"), ("image",))}
    default = "Dec"

    def __init__(self, encoder: nn.Module, decoder: nn.Module, discriminator: nn.Module,
                 class_discriminator: nn.Module | None = None, weight: float = 10.0, noise: float = 0.0) -> None:
        super().__init__()
        self.E, self.Dec, self.D, self.D_y = encoder, decoder, discriminator, class_discriminator
        self.latent, self.weight, self.noise, self.loss = decoder.latent, weight, noise, LOSSES["non_saturating"]
        self.players = {"E": self.E, "Dec": self.Dec, "D": self.D}
        self.phases = [Phase("AE", ("E", "Dec"), self.reconstruction_loss),
                       Phase("D", ("D",), self.discriminator_loss, fresh_batch=False),
                       Phase("E", ("E",), self.encoder_loss, fresh_batch=False)]
        if class_discriminator is not None:
            self.players["D_y"] = self.D_y
            self.phases[1] = Phase("D", ("D", "D_y"), self.discriminator_loss, fresh_batch=False)
            self.phases.append(Phase("label", ("E",), self.label_loss, fresh_batch=False))
            self.exports = {**self.exports, "Dec": Export(("Dec",)), "classify": Export(("E",), ("image",), "logits")}
        self.compiled = dict(self.players)

    @classmethod
    def make(cls, recipe: "Recipe", specs: Mapping[str, Spec]) -> "AAE":
        settings, spec = recipe.game, next(iter(specs.values()))
        if recipe.model.name == "autoencoder_kl":
            return cls._spatial(recipe, spec)
        dim = recipe.model.latent_dim
        classes = classes_of(specs) if settings.semi_supervised else 0
        decoder, trunk = families.build(replace(recipe.model, latent_dim=dim + classes), replace(spec, classes=0))
        latent = Latent(Prior(settings.prior, dim, settings.prior_scale, settings.components), classes)
        if classes:
            decoder = ClassDecoder(decoder, latent)
        decoder.latent = latent
        discriminators = [mlp.Discriminator((size,), settings.hidden, settings.layers)
                          for size in (dim, classes) if size]
        return cls(Encoder(trunk, dim, classes), decoder, *discriminators, weight=settings.weight,
                   noise=settings.input_noise)

    @classmethod
    def _spatial(cls, recipe: "Recipe", spec: Spec) -> "AAE":
        settings, model, (channels, *sides) = recipe.game, recipe.model, spec.shape
        sizes = Sizes(channels, model.widths, model.layers, model.latent_channels, model.groups)
        dim = math.prod(code_shape(sizes, sides))
        decoder = SpatialDecoder(sizes, sides, Latent(Prior("gaussian", dim, settings.prior_scale), 0))
        return cls(SpatialEncoder(sizes), decoder, mlp.Discriminator((dim,), settings.hidden, settings.layers),
                   weight=settings.weight, noise=settings.input_noise)

    @classmethod
    def compose(cls, export: Export, parts: Sequence[nn.Module]) -> nn.Module:
        if len(parts) == 2:
            return Reconstruct(*parts)
        if export.inputs[0] == "z":
            return parts[0]
        return Classify(*parts) if export.output == "logits" else Encode(*parts)

    def encoded(self, images: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Codes z [n, dim] and logits of the class [n, classes]."""
        if self.noise:
            images = images + self.noise * batch.draws.normal("noise", *images.shape[1:])
        return self.E.drawn(self.compiled["E"](images), batch.draws)

    def reconstruction_loss(self, batch: Batch) -> Terms:
        """E and Dec minimise the mean squared error per pixel."""
        z, logits = self.encoded(batch.reals, batch)
        if self.D_y is not None:
            watch_error(batch, logits)
        again = self.compiled["Dec"](torch.cat([z, logits.softmax(1)], 1))
        return {"reconstruction": self.weight * F.mse_loss(again, batch.reals)}

    def discriminator_loss(self, batch: Batch) -> Terms:
        with torch.no_grad():
            z, logits = self.encoded(batch.reals, batch)
        real, fake = self.compiled["D"](self.latent.style(batch.draws)), self.compiled["D"](z)
        batch.figures.update(real_logit=real.mean(), fake_logit=fake.mean())
        terms = self.loss.discriminator(real, fake)
        if self.D_y is not None:
            real = self.compiled["D_y"](self.latent.category(batch.draws))
            terms |= _of_class(self.loss.discriminator(real, self.compiled["D_y"](logits.softmax(1))))
        return terms

    def encoder_loss(self, batch: Batch) -> Terms:
        """E maximises log s(D(z)), and log s(D_y(y))."""
        z, logits = self.encoded(batch.reals, batch)
        terms = self.loss.generator(self.compiled["D"](z))
        if self.D_y is not None:
            terms |= _of_class(self.loss.generator(self.compiled["D_y"](logits.softmax(1))))
        return terms

    def label_loss(self, batch: Batch) -> Terms:
        labelled = batch.streams["labelled"]
        logits = self.encoded(labelled.data, batch)[1]
        return {"cross_entropy": F.cross_entropy(logits, labelled.condition)}

    @torch.no_grad()
    def draw(self, networks: Mapping[str, nn.Module], preview: Preview) -> Mapping[str, Tensor]:
        """Real images, their reconstructions, and samples of the prior."""
        return beside_samples(self, networks, preview)


def _of_class(terms: Terms) -> Terms:
    return {f"{name}_y": term for name, term in terms.items()}
