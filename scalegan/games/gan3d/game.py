"""3D-GAN: shapes as voxels, and a discriminator that waits while it is ahead."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from scalegan.config.game import REAL
from scalegan.data.spec import Spec
from scalegan.games.base import Batch, Export, Game, Phase
from scalegan.games.fakes import plain_fakes
from scalegan.games.gan3d import networks
from scalegan.games.gan3d.gate import AccuracyGate, accuracy_of
from scalegan.losses import LOSSES, AdversarialLoss, Terms

if TYPE_CHECKING:
    from scalegan.config import Recipe


class GAN3D(Game):
    """The two-player game on volumes (section 3.1 of the paper). D learns too fast for G, so it is updated only if its
    accuracy on the last batch is at most 80 %.

    G moves first, in every iteration, and measures D's accuracy on the batch that D may then learn from.

    Args:
        generator: z -> volumes in [0, 1]; discriminator: volumes -> logits [N].
        loss: one of `scalegan.losses`.
        accuracy: up to which D is updated, or None.
    """

    exports = {"G": Export(("G",), ("z",), "volume")}

    def __init__(self, generator: nn.Module, discriminator: nn.Module,
                 loss: AdversarialLoss = LOSSES["non_saturating"], accuracy: float | None = 0.8) -> None:
        super().__init__()
        self.G, self.D, self.loss = generator, discriminator, loss
        self.gate = None if accuracy is None else AccuracyGate(accuracy)
        self.players = {"G": self.G, "D": self.D}
        self.compiled = dict(self.players)
        self.phases = [Phase("G", ("G",), self.generator_loss),
                       Phase("D", ("D",), self.discriminator_loss, fresh_batch=False)]

    @classmethod
    def make(cls, recipe: "Recipe", specs: Mapping[str, Spec]) -> "GAN3D":
        game, side = recipe.game, specs[REAL].shape[-1]
        return cls(networks.Generator(side, game.latent_dim, game.width, game.norm_group, game.latent),
                   networks.Discriminator(side, game.width, game.norm_group), LOSSES[game.loss], game.accuracy)

    def generator_loss(self, batch: Batch) -> Terms:
        """G learns to make shapes that pass for real; also measures how many reals and fakes D tells apart."""
        fakes = plain_fakes(self.compiled["G"], batch, None)
        fake = self.compiled["D"](fakes)
        with torch.no_grad():
            real = self.compiled["D"](batch.reals)
        batch.figures.update(accuracy=accuracy_of(real, fake), filled=_filled(fakes), filled_real=_filled(batch.reals))
        return self.loss.generator(fake)

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
