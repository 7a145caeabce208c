"""The iterative GAN (Ma et al., 2018): one model that recognises, generates, rebuilds and transforms images."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, l1_loss

from scalegan.augment import Augment
from scalegan.augment.choice import augment_of
from scalegan.data.spec import Spec
from scalegan.games.adaptive_updates import AdaptiveUpdates
from scalegan.games.base import Batch, Export, Game, Phase, Preview
from scalegan.games.fakes import plain_fakes
from scalegan.games.iterative import networks
from scalegan.games.sampling import latents
from scalegan.losses import LOSSES, Terms
from scalegan.models.layers.tracked import NothingObserved

if TYPE_CHECKING:
    from scalegan.config import Recipe


class IterativeGAN(Game):
    """Stage one is AC-GAN with attributes; stage two rebuilds x from what C finds in it, x' = G(z~, c~)   (section 3):

    L = L_ACGAN + perceptual * sum_l |f_l(x) - f_l(x')| + pixel * |x - x'| + code * |z - z~(G(z, c))|.

    f_l are the feature maps of the convolutions that D and C share, and z~ and c~ are C's code and attribute
    probabilities; norms are means over all values. Every term is minimised; the printed signs of the min-max problem
    cannot be meant. What the paper leaves open is decided as follows:

    - D's phase trains the shared convolutions, D's head and C on L_ACGAN, G's phase G. The paper prints the label loss
      for both; the published code leaves it out of G's.
    - Stage two moves G and C's own layers alone. The shared convolutions are what images are compared by; if they moved
      too, features that say nothing would minimise the perceptual term.
    - Pixels and features teach C through z~, not c~, which would otherwise learn to hide the image in its attributes;
      c~ learns from labels alone.
    - z is uniform in [-1, 1], the range of C's tanh.
    - C alone has the layer of 1,024 units behind the convolutions, so that stage two can teach it; D's head is linear
      in the last feature map. Section 5.3.1 gives C another layer of 128, which section 4 does not have; nor has this.

    Exports `rebuild` and `transform` use the current weights, whose running statistics in G are those of rebuildings.

    Args:
        generator: (z, attributes) -> images.
        trunk: images -> feature maps; head: the last map -> logits [n]; recogniser: the last map -> logits [n, K] of
            the attributes and codes [n, latent_dim].
        perceptual, pixel, code: weights in stage two; label_weight: of the label loss.
        adaptive: rule for the numbers of updates of D and G, or None for one each.
        augment: applied to images before D and C see them in stage one.
    """

    exports = {"G": Export(("G",)),
               "recognise": Export(("trunk", "C"), ("image",), "probabilities", averaged=False),
               "encode": Export(("trunk", "C"), ("image",), "vector", averaged=False),
               "rebuild": Export(("trunk", "C", "G"), ("image",), averaged=False),
               "transform": Export(("trunk", "C", "G"), ("image", "condition"), averaged=False)}

    def __init__(self, generator: nn.Module, trunk: nn.Module, head: nn.Module, recogniser: nn.Module,
                 perceptual: float = 2.0, pixel: float = 0.5, code: float = 1.0, label_weight: float = 1.0,
                 adaptive: AdaptiveUpdates | None = None, augment: Augment | None = None) -> None:
        super().__init__()
        self.G, self.trunk, self.D, self.C = generator, trunk, head, recogniser
        self.perceptual, self.pixel, self.code, self.label_weight = perceptual, pixel, code, label_weight
        self.adaptive, self.augment, self.loss = adaptive, augment or Augment(), LOSSES["non_saturating"]
        self.players = {"G": self.G, "trunk": self.trunk, "D": self.D, "C": self.C}
        self.compiled = dict(self.players)
        self.phases = [Phase("D", ("trunk", "D", "C"), self.discriminator_loss),
                       Phase("G", ("G",), self.generator_loss, fresh_batch=False),
                       Phase("rebuild", ("G", "C"), self.rebuilding_loss, fresh_batch=False)]

    @classmethod
    def make(cls, recipe: "Recipe", specs: Mapping[str, Spec]) -> "IterativeGAN":
        game, spec = recipe.game, next(iter(specs.values()))
        channels, resolution, _ = spec.shape
        features = networks.features(resolution, game.width)
        adaptive = game.adaptive_updates
        return cls(networks.Generator(resolution, channels, spec.attributes, game.latent_dim, game.width,
                                      game.norm_group),
                   networks.Trunk(channels, game.width, game.norm_group), networks.Head(features),
                   networks.Recogniser(features, spec.attributes, game.latent_dim, game.hidden, game.norm_group),
                   game.perceptual, game.pixel, game.code, game.label_weight,
                   AdaptiveUpdates(adaptive.ratio, adaptive.updates) if adaptive else None, augment_of(recipe))

    @classmethod
    def compose(cls, export: Export, parts: Sequence[nn.Module]) -> nn.Module:
        kind = {"probabilities": networks.Recognise, "vector": networks.Encode, "image": networks.Rebuild}
        return parts[0] if len(parts) == 1 else kind[export.output](*parts)

    def discriminator_loss(self, batch: Batch) -> Terms:
        """Stage one of D and C. Reals have their own attributes, fakes those of random records."""
        attributes = batch.condition()
        with torch.no_grad():
            fakes = plain_fakes(self.compiled["G"], batch, attributes)
        real, of_real = self.seen(batch.reals, batch, "real")
        with NothingObserved():     # running statistics are those of reals, which C is there to recognise
            fake, of_fake = self.seen(fakes, batch, "fake")
        batch.figures.update(real_logit=real.mean(), fake_logit=fake.mean(), **self.augment.watch(real, batch.images),
                             hamming=((of_real > 0) != (batch.labels > 0.5)).float().mean())
        return self.loss.discriminator(real, fake) | {"real_label": self.label_loss(of_real, batch.labels),
                                                      "fake_label": self.label_loss(of_fake, attributes)}

    def generator_loss(self, batch: Batch) -> Terms:
        """Stage one of G."""
        attributes = batch.condition()
        with NothingObserved():
            fake, of_fake = self.seen(plain_fakes(self.compiled["G"], batch, attributes), batch, "fake")
        return self.loss.generator(fake, None) | {"label": self.label_loss(of_fake, attributes)}

    def rebuilding_loss(self, batch: Batch) -> Terms:
        """Stage two: images are rebuilt from their codes, and codes found again in G's images."""
        images = batch.reals
        with NothingObserved():
            features = self.compiled["trunk"](images)
            logits, code = self.compiled["C"](features[-1])
        rebuilt = self.compiled["G"](code, logits.detach().sigmoid())
        pixel, terms = l1_loss(rebuilt, images), {}
        batch.figures.update(pixel_l1=pixel)
        with NothingObserved():
            if self.perceptual:
                pairs = zip(self.compiled["trunk"](rebuilt), features)
                terms["perceptual"] = self.perceptual * torch.stack([l1_loss(*pair) for pair in pairs]).sum()
            if self.pixel:
                terms["pixel"] = self.pixel * pixel
            if self.code:
                z = latents(self.G, batch.draws)
                found = self.compiled["C"](self.compiled["trunk"](self.compiled["G"](z, batch.condition()))[-1])[1]
                terms["code"] = self.code * l1_loss(found, z)
        return terms

    def seen(self, images: Tensor, batch: Batch, side: str) -> tuple[Tensor, Tensor]:
        """Logits [n] of D and [n, K] of C for images after augmentation."""
        features = self.compiled["trunk"](self.augmented(images, batch, side))[-1]
        return self.compiled["D"](features), self.compiled["C"](features)[0]

    def label_loss(self, logits: Tensor, attributes: Tensor) -> Tensor:
        """-log P(attributes | x), a mean over samples and attributes, times its weight."""
        return self.label_weight * binary_cross_entropy_with_logits(logits, attributes.to(logits.dtype))

    def repeats(self, phase: Phase) -> int:
        return self.adaptive.repeats(phase) if self.adaptive else phase.updates

    def after(self, phase: Phase, figures: Terms) -> None:
        if self.adaptive:
            self.adaptive.after(phase, figures)

    @torch.no_grad()
    def draw(self, networks: Mapping[str, nn.Module], preview: Preview) -> Mapping[str, Tensor]:
        """Reals, their rebuildings, and images from random z with the reals' attributes."""
        real = next(iter(preview.samples.values()))
        rebuilt = preview.in_parts(lambda part: networks["rebuild"](next(iter(part.samples.values())).data))
        generated = preview.in_parts(lambda part: networks["G"](latents(self.G, part.draws),
                                                                next(iter(part.samples.values())).condition))
        return {"real": real.data, "rebuilt": rebuilt, "generated": generated}
