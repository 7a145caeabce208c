"""Consensus optimisation (Mescheder et al., 2017): both players also lower the norm of their joint gradient."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from scalegan.augment import Augment
from scalegan.augment.choice import augment_of
from scalegan.data.spec import Spec
from scalegan.games.base import Batch, Game, Phase
from scalegan.games.fakes import plain_fakes
from scalegan.losses import LOSSES, AdversarialLoss, Terms
from scalegan.models import families
from scalegan.penalties import half_weighted, inner_gradients

if TYPE_CHECKING:
    from scalegan.config import Recipe


class Consensus(Game):
    """Descends L_D + gamma L with D and L_G + gamma L with G (algorithm 2), where

    L = |v|^2 / 2,  v = (dL_D / dD, dL_G / dG).

    Both players step from the same batch and weights. v is the gradient of the micro-batch: its squared norm is not a
    mean over samples, and exceeds that of the whole batch by the gradients' variance.

    Args:
        generator: (z, condition) -> samples; discriminator: (samples, condition) -> logits [n].
        loss: one of `scalegan.losses` whose generator needs no reals.
        gamma: weight of L.
        augment: applied to samples before D sees them.
    """

    def __init__(self, generator: nn.Module, discriminator: nn.Module, loss: AdversarialLoss, gamma: float = 10.0,
                 augment: Augment | None = None) -> None:
        super().__init__()
        self.G, self.D, self.loss, self.gamma = generator, discriminator, loss, gamma
        self.augment = augment or Augment()
        self.players = {"G": self.G, "D": self.D}
        self.compiled = dict(self.players)
        self.phases = [Phase("GD", ("G", "D"), self.joint_loss)]

    @classmethod
    def make(cls, recipe: "Recipe", specs: Mapping[str, Spec]) -> "Consensus":
        generator, discriminator = families.build(recipe.model, next(iter(specs.values())))
        return cls(generator, discriminator, LOSSES[recipe.game.loss], recipe.game.gamma, augment_of(recipe))

    def joint_loss(self, batch: Batch) -> Terms:
        """Each player's loss, which moves that player alone, and gamma L, which moves both."""
        condition = batch.condition()
        fakes = self.augmented(plain_fakes(self.G, batch, condition), batch, "fake")
        real, fake = self.D(self.augmented(batch.reals, batch, "real"), batch.labels), self.D(fakes, condition)
        batch.figures.update(real_logit=real.mean(), fake_logit=fake.mean(), **self.augment.watch(real, batch.images))
        of_d, of_g = sum(self.loss.discriminator(real, fake).values()), sum(self.loss.generator(fake, None).values())
        weights_d, weights_g = list(self.D.parameters()), list(self.G.parameters())
        v_d, v_g = inner_gradients(of_d, weights_d), inner_gradients(of_g, weights_g)
        squares = torch.stack([v.square().sum() for v in (*v_d, *v_g)])
        return {"D": moving(of_d, weights_d, v_d), "G": moving(of_g, weights_g, v_g),
                "consensus": half_weighted(self.gamma, squares.sum())}


def moving(value: Tensor, weights: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
    """`value` [], with these gradients with respect to the weights, and none with respect to anything else."""
    steps = [((w - w.detach()) * g.detach()).sum() for w, g in zip(weights, gradients)]
    return value.detach() + torch.stack(steps).sum()
