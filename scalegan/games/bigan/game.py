"""BiGAN (Donahue et al., 2017): D sees images with their codes, and the encoder learns the generator's inverse."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss, mse_loss, softplus

from scalegan.data.spec import Spec
from scalegan.games.base import Batch, Export, Game, Phase, Preview
from scalegan.games.bigan.networks import Discriminator, Encoder, Generator
from scalegan.games.reconstructions import beside_samples
from scalegan.games.sampling import latents
from scalegan.losses import LOSSES, Terms

if TYPE_CHECKING:
    from scalegan.config import Recipe


class BiGAN(Game):
    """min_{G, E} max_D  E log D(x, E(x)) + E log(1 - D(G(z), z))   (eq. 3).

    G and E minimise the same loss with exchanged labels, -log D(G(z), z) - log(1 - D(x, E(x))) (section 3.3). Both
    phases take their gradients from the same latents and weights before either steps, as the published code does.
    Encodings and reconstructions use the current weights: the BatchNorm statistics of E belong to those.

    Args:
        generator: z [N, latent_dim] -> samples [N, ...].
        encoder: (samples, standard normal noise [N, latent_dim] or None) -> z [N, latent_dim].
        discriminator: (samples, z) -> logits [N].
        scale: factor of the adversarial losses.
        cycle: weight of ALICE's cycle term (Li et al., 2017): the distance between x and G(E(x)).
        distance: that distance, a mean over all values.
    """

    exports = {"G": Export(("G",), ("z",)), "encode": Export(("E",), ("image",), "vector", averaged=False),
               "reconstruct": Export(("E", "G"), ("image",), averaged=False)}

    def __init__(self, generator: nn.Module, encoder: nn.Module, discriminator: nn.Module, scale: float = 1.0,
                 cycle: float = 0.0, distance: Callable[[Tensor, Tensor], Tensor] = mse_loss) -> None:
        super().__init__()
        self.G, self.E, self.D, self.scale = generator, encoder, discriminator, scale
        self.cycle, self.distance, self.loss = cycle, distance, LOSSES["non_saturating"]
        self.players = {"G": self.G, "E": self.E, "D": self.D}
        self.compiled = dict(self.players)
        self.phases = [Phase("D", ("D",), self.discriminator_loss, step_with="EG"),
                       Phase("EG", ("E", "G"), self.encoder_generator_loss, fresh_batch=False, draws="D")]

    @classmethod
    def make(cls, recipe: "Recipe", specs: Mapping[str, Spec]) -> "BiGAN":
        settings, shape = recipe.game, next(iter(specs.values())).shape
        sizes = {"hidden": settings.hidden, "latent_dim": settings.latent_dim, "norm_group": settings.norm_group}
        return cls(Generator(shape, latent=settings.latent, **sizes),
                   Encoder(shape, latent=settings.latent, stochastic=settings.encoder == "stochastic", **sizes),
                   Discriminator(shape, **sizes), **cls.weights(settings))

    @classmethod
    def weights(cls, settings: Any) -> dict[str, Any]:
        """The constructor's arguments besides the networks."""
        return {"scale": 0.5 if settings.half_loss else 1.0, "cycle": settings.cycle,
                "distance": {"l2": mse_loss, "l1": l1_loss}[settings.cycle_distance]}

    def discriminator_loss(self, batch: Batch) -> Terms:
        """D learns to tell the encoder's pairs (real) from the generator's (fake)."""
        with torch.no_grad():
            encoded, made = self.pairs(batch)
        real, fake = self.logits(encoded, batch, "real"), self.logits(made, batch, "fake")
        batch.figures.update(real_logit=real.mean(), fake_logit=fake.mean())
        return {name: self.scale * term for name, term in self.loss.discriminator(real, fake).items()}

    def encoder_generator_loss(self, batch: Batch) -> Terms:
        """E and G learn to make pairs that pass for the other's, and with `cycle`, to invert each other."""
        encoded, made = self.pairs(batch)
        real, fake = self.logits(encoded, batch, "real"), self.logits(made, batch, "fake")
        terms = {"encoder": self.scale * softplus(real).mean(), "generator": self.scale * softplus(-fake).mean()}
        if self.cycle:
            x, z = encoded
            terms["cycle"] = self.cycle * self.distance(self.compiled["G"](z), x)
        return terms

    def logits(self, pair: tuple[Tensor, Tensor], batch: Batch, side: str) -> Tensor:
        """D's logits [N] of pairs from one side, "real" (the encoder's) or "fake"."""
        return self.compiled["D"](*pair)

    def pairs(self, batch: Batch) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """(x, E(x)) and (G(z), z)."""
        z, noise = latents(self.G, batch.draws), batch.draws.normal("encoder", self.G.latent_dim)
        return (batch.reals, self.compiled["E"](batch.reals, noise)), (self.compiled["G"](z), z)

    @torch.no_grad()
    def draw(self, networks: Mapping[str, nn.Module], preview: Preview) -> Mapping[str, Tensor]:
        """Real images, their reconstructions, and samples; samples alone for points."""
        return beside_samples(self, networks, preview, ("x", "G(E(x))", "G(z)"))
