"""Adversarial variational Bayes (Mescheder et al., 2017): the KL divergence of a VAE, learnt by a discriminator."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from scalegan.data.spec import Spec
from scalegan.games.avb.networks import Encode, NoisyEncoder, Ratio
from scalegan.games.base import Batch, Export, Game, Phase, Preview
from scalegan.games.reconstructions import beside_samples
from scalegan.losses import LOSSES, Terms
from scalegan.models import families

if TYPE_CHECKING:
    from scalegan.config import Recipe

_LEAST = 1e-6           # probability of a pixel's colour; deviation of a posterior
_LOG_TWO_PI = math.log(2 * math.pi)


class AVB(Game):
    """Two phases that step together, as in the published code (algorithm 1 of the paper):

    E and Dec minimise  E_q T(x, z) - E_q log p(x | z),  z = E(x, eps): the negative ELBO once T = T*;
    T maximises  E_q log s(T(x, z)) + E_p log(1 - s(T(x, z))),  so that  T* = log q(z | x) - log p(z).

    With adaptive contrast, T compares (z - mu) / sigma with N(0, I), where mu and sigma are mean and
    deviation of q(z | x), estimated from further noises and without gradient; the KL divergence is then
    E_q [T + log N(z; mu, sigma^2) - log p(z)].

    Args:
        encoder: (images, noises [N, M, noise_dim]) -> codes [N, M, latent_dim]; decoder: codes -> images.
        ratio: T, (images, codes) -> logits [N].
        deviation: of a Gaussian p(x | z); None for a Bernoulli one, whose images are binarised.
        contrast: noises per image for mu and sigma; 0 for no adaptive contrast.
    """

    exports = {"Dec": Export(("Dec",), ("z",)), "encode": Export(("E",), ("image",), "vector"),
               "reconstruct": Export(("E", "Dec"), ("image",))}
    default = "Dec"

    def __init__(self, encoder: nn.Module, decoder: nn.Module, ratio: nn.Module, deviation: float | None = None,
                 contrast: int = 0) -> None:
        super().__init__()
        self.E, self.Dec, self.T = encoder, decoder, ratio
        self.deviation, self.contrast, self.loss = deviation, contrast, LOSSES["non_saturating"]
        self.players = {"E": self.E, "Dec": self.Dec, "T": self.T}
        self.compiled = dict(self.players)
        self.phases = [Phase("ELBO", ("E", "Dec"), self.elbo_loss, step_with="T"),
                       Phase("T", ("T",), self.ratio_loss, fresh_batch=False, draws="ELBO")]

    @classmethod
    def make(cls, recipe: "Recipe", specs: Mapping[str, Spec]) -> "AVB":
        settings, spec = recipe.game, next(iter(specs.values()))
        (decoder, trunk), (_, other) = families.build(recipe.model, spec), families.build(recipe.model, spec)
        return cls(NoisyEncoder(trunk, settings.noise_dim, settings.hidden, decoder.latent_dim), decoder,
                   Ratio(other, settings.hidden, decoder.latent_dim, settings.half_norm),
                   settings.deviation if settings.likelihood == "gaussian" else None, settings.adaptive_contrast)

    @classmethod
    def compose(cls, export: Export, parts: Sequence[nn.Module]) -> nn.Module:
        if export.inputs[0] == "z":
            return parts[0]
        encode = Encode(parts[0])
        return encode if len(parts) == 1 else nn.Sequential(encode, parts[1])

    def images(self, batch: Batch) -> Tensor:
        """The batch's samples, binarised to -1 and 1 for a Bernoulli likelihood."""
        if self.deviation is not None:
            return batch.reals
        white = batch.draws.uniform("binarise", *batch.reals.shape[1:]) < (batch.reals + 1) / 2
        return white.to(batch.reals.dtype) * 2 - 1

    def codes(self, x: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """z, mu and sigma [n, latent_dim]: a code of each image, and the normalisation for T, which is 0 and 1 without
        adaptive contrast."""
        z, *others = self.compiled["E"](x, batch.draws.normal("noise", 1 + self.contrast, self.E.noise_dim)).unbind(1)
        if not self.contrast:
            return z, torch.zeros_like(z), torch.ones_like(z)
        others = torch.stack(others).detach()
        return z, others.mean(0), others.std(0).clamp(min=_LEAST)

    def elbo_loss(self, batch: Batch) -> Terms:
        """The negative ELBO in nats per image, by T's estimate of the KL divergence."""
        x = self.images(batch)
        z, mu, sigma = self.codes(x, batch)
        kl = self.compiled["T"](x, (z - mu) / sigma)
        if self.contrast:
            kl = kl + _log_normal(z, mu, sigma) - _log_normal(z, torch.zeros_like(z), torch.ones_like(z))
        terms = {"kl": kl.mean(), "reconstruction": self.surprise(x, self.compiled["Dec"](z)).mean()}
        batch.figures["elbo"] = -(terms["kl"] + terms["reconstruction"])
        return terms

    def ratio_loss(self, batch: Batch) -> Terms:
        x = self.images(batch)
        with torch.no_grad():
            z, mu, sigma = self.codes(x, batch)
        posterior = self.compiled["T"](x, (z - mu) / sigma)
        prior = self.compiled["T"](x, batch.draws.normal("z", z.shape[1]))
        terms = self.loss.discriminator(posterior, prior)
        return {"posterior": terms["real"], "prior": terms["fake"]}

    def surprise(self, x: Tensor, decoded: Tensor) -> Tensor:
        """-log p(x | z) in nats [n]; of the decoder's images, (1 + value) / 2 is the probability of white."""
        x, decoded = x.flatten(1).float(), decoded.flatten(1).float()
        if self.deviation is None:
            return -((1 + x * decoded) / 2).clamp(min=_LEAST).log().sum(1)
        return -_log_normal(x, decoded, torch.full_like(x, self.deviation))

    @torch.no_grad()
    def draw(self, networks: Mapping[str, nn.Module], preview: Preview) -> Mapping[str, Tensor]:
        """Real images, their reconstructions from codes of zero noise, and samples of the prior."""
        return beside_samples(self, networks, preview)


def _log_normal(z: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """log N(z; mean, deviation^2), summed over dimensions [n]."""
    return -(((z - mean) / deviation).square() / 2 + deviation.log() + _LOG_TWO_PI / 2).sum(1)
