"""LAPGAN (Denton et al., 2015): a generator for the coarsest level of a Laplacian pyramid, and one that adds the
details for every doubling of its size."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from scalegan.data.spec import Spec
from scalegan.games.base import Batch, Export, Game, Phase, Preview
from scalegan.games.lapgan import networks, pyramid
from scalegan.games.sampling import latents
from scalegan.losses import LOSSES, Terms
from scalegan.models.layers.dropout import drawn_from
from scalegan.support.resolution import of_sides

if TYPE_CHECKING:
    from scalegan.config import Recipe


class LAPGAN(Game):
    """min_{G_k} max_{D_k}  E log D_k(h, l) + E log(1 - D_k(G_k(z, l), l)) at every level k (eq. 2), where l is an image
    that was halved and doubled, and h what this has lost; at the coarsest level, images without condition.

    Levels share batches and nothing else. As in the paper, an image is D's as a real or lends its l to a fake, each
    half of the time: here every other image of a batch. So no fake of D's batch has the l of one of its reals, and G
    has a batch of its own.

    Args:
        generators, discriminators: from the finest level, 0, to the coarsest.
    """

    def __init__(self, generators: Sequence[nn.Module], discriminators: Sequence[nn.Module]) -> None:
        super().__init__()
        self.G, self.D = nn.ModuleList(generators), nn.ModuleList(discriminators)
        self.levels, self.loss = len(generators), LOSSES["non_saturating"]
        self.players = {f"{player}{level}": networks[level] for level in range(self.levels)
                        for player, networks in (("G", self.G), ("D", self.D))}
        self.compiled = dict(self.players)
        self.phases = [Phase(f"{player}{level}", (f"{player}{level}",), partial(loss, level), fresh_batch=level == 0)
                       for player, loss in (("D", self.discriminator_loss), ("G", self.generator_loss))
                       for level in range(self.levels)]
        self.exports = {"G": Export(tuple(f"G{level}" for level in range(self.levels)), ("z",))}

    @classmethod
    def make(cls, recipe: "Recipe", specs: Mapping[str, Spec]) -> "LAPGAN":
        levels = range(recipe.game.levels)
        return cls(*([cls.player(recipe, specs, f"{player}{level}") for level in levels] for player in "GD"))

    @classmethod
    def player(cls, recipe: "Recipe", specs: Mapping[str, Spec], name: str) -> nn.Module:
        settings, level = recipe.game, int(name[1:])
        channels, *sides = next(iter(specs.values())).shape
        shape = (channels, *(side >> level for side in sides))
        if level < settings.levels - 1:
            kind = {"G": networks.ResidualGenerator, "D": networks.ResidualDiscriminator}[name[0]]
            return kind(shape, settings.width)
        if name[0] == "G":
            return networks.BaseGenerator(shape, settings.base_hidden, settings.latent_dim)
        return networks.BaseDiscriminator(shape, settings.base_hidden // 5)

    @classmethod
    def compose(cls, export: Export, parts: Sequence[nn.Module]) -> nn.Module:
        return networks.Pyramid(parts)

    def discriminator_loss(self, level: int, batch: Batch) -> Terms:
        """D_k minimises the mean cross-entropy over its batch, reals and fakes."""
        real, fake = batch[::2], batch[1::2]
        with torch.no_grad():
            fakes = self.images(level, fake)
        real_logit = self.logits(level, pyramid.at_level(real.reals, level), real, "real")
        fake_logit = self.logits(level, fakes, fake, "fake")
        batch.figures.update(real_logit=real_logit.mean(), fake_logit=fake_logit.mean())
        return {name: term / 2 for name, term in self.loss.discriminator(real_logit, fake_logit).items()}

    def generator_loss(self, level: int, batch: Batch) -> Terms:
        return self.loss.generator(self.logits(level, self.images(level, batch), batch, "fake"))

    def images(self, level: int, batch: Batch) -> Tensor:
        """Fakes of a level, l + G_k(z, l), where l is that of the batch's images."""
        generator = self.G[level]
        z = batch.draws.uniform("z", generator.latent_dim) * 2 - 1
        if level == self.levels - 1:
            return generator(z)
        low = pyramid.split(pyramid.at_level(batch.reals, level))[1]
        return low + generator(z, low)

    def logits(self, level: int, images: Tensor, batch: Batch, side: str) -> Tensor:
        with drawn_from(batch.draws.of(side), self.D[level]):
            return self.D[level](images)

    @torch.no_grad()
    def draw(self, networks: Mapping[str, nn.Module], preview: Preview) -> Mapping[str, Tensor]:
        """Samples at every level, from the coarsest to the finest."""
        network = networks[self.default]
        z = latents(network, preview.draws)
        parts = [network.stages(part) for part in z.split(preview.at_once or len(z))]
        return {f"{of_sides(*level[0].shape[2:])} px": torch.cat(level) for level in zip(*parts)}
