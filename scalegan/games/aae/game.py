"""Adversarial autoencoder (Makhzani et al., 2015): D makes the encoder's codes follow a prior."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalegan.data.spec import Spec
from scalegan.games.aae.networks import Encoder
from scalegan.games.aae.priors import Prior
from scalegan.games.base import Batch, Export, Game, Phase, Preview
from scalegan.losses import LOSSES, Terms
from scalegan.models import families, mlp

if TYPE_CHECKING:
    from scalegan.config import Recipe


class AAE(Game):
    """Each iteration has three phases on one batch (section 2 of the paper): the autoencoder reconstructs; D learns to
    tell codes drawn from the prior (real) from the encoder's (fake); the encoder learns to fool D.

    The paper gives the reconstruction and the regularisation of E separate optimizers. Here E has one, as has every
    player, so `weight` balances the two.

    Args:
        encoder: images -> codes; decoder: codes -> images, with the prior as its latent.
        discriminator: codes -> logits [N].
        weight: of the reconstruction.
    """

    exports = {"Dec": Export(("Dec",), ("z",)), "encode": Export(("E",), ("image",), "vector"),
               "reconstruct": Export(("E", "Dec"), ("image",))}
    default = "Dec"

    def __init__(self, encoder: nn.Module, decoder: nn.Module, discriminator: nn.Module, weight: float = 10.0) -> None:
        super().__init__()
        self.E, self.Dec, self.D = encoder, decoder, discriminator
        self.prior, self.weight, self.loss = decoder.latent, weight, LOSSES["non_saturating"]
        self.players = {"E": self.E, "Dec": self.Dec, "D": self.D}
        self.compiled = dict(self.players)
        self.phases = [Phase("AE", ("E", "Dec"), self.reconstruction_loss),
                       Phase("D", ("D",), self.discriminator_loss, fresh_batch=False),
                       Phase("E", ("E",), self.encoder_loss, fresh_batch=False)]

    @classmethod
    def make(cls, recipe: "Recipe", specs: Mapping[str, Spec]) -> "AAE":
        settings, spec = recipe.game, next(iter(specs.values()))
        decoder, trunk = families.build(recipe.model, spec)
        decoder.latent = Prior(settings.prior, decoder.latent_dim, settings.prior_scale, settings.components)
        return cls(Encoder(trunk, decoder.latent_dim), decoder,
                   mlp.Discriminator((decoder.latent_dim,), settings.hidden, settings.layers), settings.weight)

    def reconstruction_loss(self, batch: Batch) -> Terms:
        """E and Dec minimise the mean squared error per pixel."""
        again = self.compiled["Dec"](self.compiled["E"](batch.reals))
        return {"reconstruction": self.weight * F.mse_loss(again, batch.reals)}

    def discriminator_loss(self, batch: Batch) -> Terms:
        with torch.no_grad():
            codes = self.compiled["E"](batch.reals)
        real, fake = self.compiled["D"](self.prior(batch.draws)), self.compiled["D"](codes)
        batch.figures.update(real_logit=real.mean(), fake_logit=fake.mean())
        return self.loss.discriminator(real, fake)

    def encoder_loss(self, batch: Batch) -> Terms:
        """E maximises log s(D(E(x)))."""
        return self.loss.generator(self.compiled["D"](self.compiled["E"](batch.reals)))

    @torch.no_grad()
    def draw(self, networks: Mapping[str, nn.Module], preview: Preview) -> Mapping[str, Tensor]:
        """Real images, their reconstructions, and samples of the prior."""
        samples = super().draw(networks, preview)["samples"]
        if samples.dim() == 2:      # points
            return {"samples": samples}
        reals = preview.samples[next(iter(preview.samples))].data
        again = torch.cat([networks["reconstruct"](part) for part in reals.split(preview.at_once or len(reals))])
        return {"real": reals, "recon": again, "sample": samples}
