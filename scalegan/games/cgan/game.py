"""CGAN (Mirza & Osindero, 2014): min_G max_D E log D(x | y) + E log(1 - D(G(z | y) | y))   (eq. 2)."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from torch import nn

from scalegan.data.spec import Spec
from scalegan.games.base import Batch
from scalegan.games.cgan.networks import Discriminator, Generator
from scalegan.games.gan.game import GAN
from scalegan.losses import Terms
from scalegan.models.layers.dropout import drawn_from

if TYPE_CHECKING:
    from scalegan.config import Recipe


class CGAN(GAN):
    """The two-player game, whose networks drop units in all of its phases."""

    def __init__(self, *arguments, **further) -> None:
        super().__init__(*arguments, **further)
        self.phases = [replace(phase, loss=partial(self.with_dropout, phase.loss)) for phase in self.phases]

    @classmethod
    def networks(cls, recipe: "Recipe", spec: Spec) -> tuple[nn.Module, nn.Module]:
        return tuple(network(spec.shape, spec.num_classes, recipe.game.dropout)
                     for network in (Generator, Discriminator))

    @classmethod
    def player(cls, recipe: "Recipe", specs: Mapping[str, Spec], name: str) -> nn.Module:
        return cls.make(recipe, specs).players[name]

    def with_dropout(self, loss: Callable[[Batch], Terms], batch: Batch) -> Terms:
        """A loss of the two-player game, its masks drawn from the batch's draws."""
        with drawn_from(batch.draws, self.G, self.D):
            return loss(batch)
