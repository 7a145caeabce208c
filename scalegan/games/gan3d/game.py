"""3D-GAN: shapes as voxels, and a discriminator that waits while it is ahead; 3D-VAE-GAN: shapes from pictures."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from scalegan.config.game import REAL
from scalegan.data.rendering import rendered, side_of
from scalegan.data.spec import Spec
from scalegan.games.base import Batch, Export, Game, Phase, Preview
from scalegan.games.fakes import plain_fakes
from scalegan.games.gan3d import networks
from scalegan.games.gan3d.encoder import VIEW, Encoder, Mean, Rebuilder
from scalegan.games.gan3d.gate import AccuracyGate, accuracy_of
from scalegan.losses import LOSSES, AdversarialLoss, Terms

if TYPE_CHECKING:
    from scalegan.config import Recipe


class GAN3D(Game):
    """The two-player game on volumes (section 3.1 of the paper). D learns too fast for G, so it is updated only if its
    accuracy on the last batch is at most 80 %.

    G moves first, in every iteration, and measures D's accuracy on the batch that D may then learn from.

    With an encoder (section 3.3), E and G also learn to make a shape x from its picture y, from one side:

        L = L_3D-GAN + alpha_1 KL(q(z | y) | N(0, I)) + alpha_2 |G(z) - x|,   z from q(z | y).

    Args:
        generator: z -> volumes in [0, 1]; discriminator: volumes -> logits [N].
        loss: one of `scalegan.losses`.
        accuracy: up to which D is updated, or None.
        encoder: pictures -> means and logarithms of variances [N, 2 * latent_dim]; or None.
        divergence, reconstruction: alpha_1 and alpha_2.
    """

    exports = {"G": Export(("G",), ("z",), "volume")}

    def __init__(self, generator: nn.Module, discriminator: nn.Module,
                 loss: AdversarialLoss = LOSSES["non_saturating"], accuracy: float | None = 0.8,
                 encoder: nn.Module | None = None, divergence: float = 5.0, reconstruction: float = 1e-4) -> None:
        super().__init__()
        self.divergence, self.reconstruction = divergence, reconstruction
        self.G, self.D, self.loss = generator, discriminator, loss
        self.gate = None if accuracy is None else AccuracyGate(accuracy)
        self.players = {"G": self.G, "D": self.D}
        movers = ("G",)
        if encoder is not None:
            self.E, movers = encoder, ("G", "E")
            self.players["E"] = encoder
            self.exports = {**self.exports, "encode": Export(("E",), ("image",), "vector"),
                            "rebuild": Export(("E", "G"), ("image",), "volume")}
        self.compiled = dict(self.players)
        self.phases = [Phase("G", movers, self.generator_loss),
                       Phase("D", ("D",), self.discriminator_loss, fresh_batch=False)]

    @classmethod
    def make(cls, recipe: "Recipe", specs: Mapping[str, Spec]) -> "GAN3D":
        game, side = recipe.game, specs[REAL].shape[-1]
        return cls(networks.Generator(side, game.latent_dim, game.width, game.norm_group, game.latent),
                   networks.Discriminator(side, game.width, game.norm_group), LOSSES[game.loss], game.accuracy,
                   *cls._encoder(game, side))

    @staticmethod
    def _encoder(game: Any, side: int) -> tuple:
        if game.encoder is None:
            return ()
        network = Encoder(side_of(side), game.latent_dim, game.encoder.width, game.norm_group)
        return network, game.encoder.divergence, game.encoder.reconstruction

    @classmethod
    def compose(cls, export: Export, parts: Sequence[nn.Module]) -> nn.Module:
        if export.inputs[0] == "z":
            return parts[0]
        return Mean(*parts) if len(parts) == 1 else Rebuilder(*parts)

    def generator_loss(self, batch: Batch) -> Terms:
        """G learns to make shapes that pass for real; also measures how many reals and fakes D tells apart."""
        fakes = plain_fakes(self.compiled["G"], batch, None)
        fake = self.compiled["D"](fakes)
        with torch.no_grad():
            real = self.compiled["D"](batch.reals)
        batch.figures.update(accuracy=accuracy_of(real, fake), filled=_filled(fakes), filled_real=_filled(batch.reals))
        return self.loss.generator(fake) | self._from_pictures(batch)

    def _from_pictures(self, batch: Batch) -> Terms:
        """What E and G learn of the batch's shapes and their pictures; nothing without an encoder."""
        if "E" not in self.players:
            return {}
        mean, log_variance = self.compiled["E"](rendered(batch.reals, VIEW)).chunk(2, 1)
        z = mean + (log_variance / 2).exp() * batch.draws.normal("encoded", mean.shape[1])
        apart = (self.compiled["G"](z) - batch.reals).flatten(1).norm(dim=1).mean()
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean() / 2
        batch.figures.update(distance=apart, kl=divergence)
        return {"divergence": self.divergence * divergence, "reconstruction": self.reconstruction * apart}

    @torch.no_grad()
    def draw(self, networks: Mapping[str, nn.Module], preview: Preview) -> Mapping[str, Tensor]:
        if "E" not in self.players:
            return super().draw(networks, preview)
        shapes = preview.samples[REAL].data
        pictures = rendered(shapes, VIEW)
        return {"picture": pictures, "shape": shapes, "rebuilt": networks["rebuild"](pictures)}

    def discriminator_loss(self, batch: Batch) -> Terms:
        """D learns to tell real shapes from fakes; BatchNorm sees them as separate batches."""
        with torch.no_grad():
            fakes = plain_fakes(self.compiled["G"], batch, None)
        real, fake = self.compiled["D"](batch.reals), self.compiled["D"](fakes)
        batch.figures.update(real_logit=real.mean(), fake_logit=fake.mean())
        return self.loss.discriminator(real, fake)

    def repeats(self, phase: Phase) -> int:
        waits = phase.name == "D" and self.gate is not None and not self.gate.open
        return 0 if waits else phase.updates

    def after(self, phase: Phase, figures: Terms) -> None:
        if phase.name == "G" and self.gate is not None:
            self.gate.record(figures["accuracy"])


def _filled(volumes: Tensor) -> Tensor:
    """The share of voxels that are filled, []."""
    return (volumes > 0.5).float().mean()
