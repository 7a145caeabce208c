"""Pixel-level domain adaptation (Bousmalis et al., 2017): labelled images in the style of images without labels."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from scalegan.data.spec import Spec
from scalegan.errors import RecipeError
from scalegan.games.base import Batch, Export, Game, Phase, Preview
from scalegan.games.pixelda.networks import Classifier, Discriminator, Generator
from scalegan.games.sampling import latents
from scalegan.losses import LOSSES, Terms
from scalegan.models.layers.dropout import drawn_from

if TYPE_CHECKING:
    from scalegan.config import Recipe


class PixelDA(Game):
    """min over G and T, max over D, of L_d(D, G) + L_t(G, T)   (eq. 1, without the content similarity of eq. 5).

    D and T learn with G fixed, T from source images and from what G makes of them (eq. 4); then G learns with both
    fixed, from the same batch, with the non-saturating loss of the published code. There, T's first layer is another
    one for source images; here, as in the paper's formulas, T is one network.

    Args:
        generator: source images [n, C, S, S] and z -> images like the target's; discriminator: images -> logits [n].
        classifier: images -> logits [n, classes].
        task: weight of T's cross-entropy in G's loss.
    """

    exports = {"G": Export(("G",), ("image", "z")), "T": Export(("T",), ("image",), "logits", averaged=False)}
    target = "target"

    def __init__(self, generator: nn.Module, discriminator: nn.Module, classifier: nn.Module,
                 task: float = 0.9) -> None:
        super().__init__()
        self.G, self.D, self.T = generator, discriminator, classifier
        self.task, self.loss = task, LOSSES["non_saturating"]
        self.players = {"G": self.G, "D": self.D, "T": self.T}
        self.compiled = dict(self.players)
        self.phases = [Phase("DT", ("D", "T"), self.discriminator_loss),
                       Phase("G", ("G",), self.generator_loss, fresh_batch=False, draws="DT")]

    @classmethod
    def make(cls, recipe: "Recipe", specs: Mapping[str, Spec]) -> "PixelDA":
        game, source = recipe.game, specs["source"]
        if source.shape != specs["target"].shape:
            raise RecipeError(f"images of data have the shape {list(source.shape)}, those of streams.target "
                              f"{list(specs['target'].shape)}; prepare both with the same resolution and colours")
        return cls(Generator(source.shape, game.width, game.blocks, game.noise_dim, game.norm_group),
                   Discriminator(source.shape, game.width, game.norm_group), Classifier(source.shape, source.classes),
                   game.task)

    def adapted(self, batch: Batch) -> Tensor:
        """Source images in the target's style."""
        return self.compiled["G"](batch.streams["source"].data, latents(self.G, batch.draws))

    def discriminator_loss(self, batch: Batch) -> Terms:
        source, target = batch.streams["source"], batch.streams["target"].data
        with torch.no_grad():
            adapted = self.adapted(batch)
        with drawn_from(batch.draws, self.D):
            real, fake = self.compiled["D"](target), self.compiled["D"](adapted)
        batch.figures.update(real_logit=real.mean(), fake_logit=fake.mean())
        return {**self.loss.discriminator(real, fake),
                "source_class": cross_entropy(self.compiled["T"](source.data), source.condition),
                "adapted_class": cross_entropy(self.compiled["T"](adapted), source.condition)}

    def generator_loss(self, batch: Batch) -> Terms:
        adapted = self.adapted(batch)
        with drawn_from(batch.draws.of("G"), self.D):
            terms = self.loss.generator(self.compiled["D"](adapted))
        of_class = cross_entropy(self.compiled["T"](adapted), batch.streams["source"].condition)
        return {**terms, "adapted_class": self.task * of_class}

    @torch.no_grad()
    def draw(self, networks: Mapping[str, nn.Module], preview: Preview) -> Mapping[str, Tensor]:
        """Source images, these adapted, and target images."""
        return {"source": preview.samples["source"].data, "adapted": self.fakes(networks, preview),
                "target": preview.samples["target"].data}

    @torch.no_grad()
    def fakes(self, networks: Mapping[str, nn.Module], preview: Preview) -> Tensor:
        return networks["G"](preview.samples["source"].data, latents(networks["G"], preview.draws))
