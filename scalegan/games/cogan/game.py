"""Coupled GANs (Liu & Tuzel, 2016): pairs of images of two domains, learnt without any pair."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalegan.data.derived import COUNTERPARTS
from scalegan.data.spec import Spec
from scalegan.errors import RecipeError
from scalegan.games.base import Batch, Export, Game, Phase, Preview
from scalegan.games.cogan import networks
from scalegan.games.sampling import generate, latents
from scalegan.losses import LOSSES, Terms

if TYPE_CHECKING:
    from scalegan.config import Recipe

DOMAINS = ("1", "2")


class CoGAN(Game):
    """A GAN for each of two domains. Their losses are summed (section 2 of the paper), the generators share their first
    layers and make their images from the same z, and the discriminators share their last layers. Shared layers are
    players of their own, G_shared and D_shared, which the gradients of both domains reach.

    For domain adaptation, `class_weight` adds the classes of the first domain to what D's shared layers learn, and D's
    last features are drawn together for fakes of the same z (published code).

    Args:
        generators: the shared layers, and the last one of either domain.
        discriminators: the shared layers, and the first one of either domain.
        derive: makes the second domain's images of those of its stream.
        scale: factor of the adversarial losses.
        class_weight, feature_weight: of the classes' cross-entropy and of the features' squared distance.
    """

    exports = {"G1": Export(("G_shared", "G1"), ("z",)), "G2": Export(("G_shared", "G2"), ("z",))}
    default = "G1"

    def __init__(self, generators: Sequence[nn.Module], discriminators: Sequence[nn.Module],
                 derive: Callable[[Tensor], Tensor] | None = None, scale: float = 1.0, class_weight: float = 0.0,
                 feature_weight: float = 0.0) -> None:
        super().__init__()
        self.G_shared, self.G1, self.G2 = generators
        self.D_shared, self.D1, self.D2 = discriminators
        self.derive, self.scale, self.loss = derive, scale, LOSSES["non_saturating"]
        self.class_weight, self.feature_weight = class_weight, feature_weight
        self.players = {name: getattr(self, name) for name in ("G_shared", "G1", "G2", "D_shared", "D1", "D2")}
        self.compiled = dict(self.players)
        self.phases = [Phase("D", ("D_shared", "D1", "D2"), self.discriminator_loss),
                       Phase("G", ("G_shared", "G1", "G2"), self.generator_loss, fresh_batch=False)]
        if class_weight:
            self.exports = {**self.exports, **{f"C{domain}": Export((f"D{domain}", "D_shared"), ("image",), "logits",
                                                                    averaged=False) for domain in DOMAINS}}

    @classmethod
    def make(cls, recipe: "Recipe", specs: Mapping[str, Spec]) -> "CoGAN":
        settings, first, second = recipe.game, specs["first"], specs["second"]
        if first.shape != second.shape and settings.second != "given":
            raise RecipeError(f"images of data have the shape {list(first.shape)}, those of streams.second "
                              f"{list(second.shape)}; prepare both with the same resolution and colours")
        width, channels = settings.width, (first.shape[0], second.shape[0])
        shared = networks.SharedGenerator(width, settings.latent_dim, settings.latent, settings.norm_group)
        return cls([shared, *(networks.GeneratorHead(count, width) for count in channels)],
                   [networks.SharedDiscriminator(first.classes if settings.adaptation else 0),
                    *(networks.DiscriminatorStem(count) for count in channels)],
                   COUNTERPARTS.get(settings.second), 0.5 if settings.half_loss else 1.0,
                   *((settings.class_weight, settings.feature_weight) if settings.adaptation else ()))

    @classmethod
    def compose(cls, export: Export, parts: Sequence[nn.Module]) -> nn.Module:
        return networks.Generator(*parts) if export.output == "image" else networks.Classifier(*parts)

    def discriminator_loss(self, batch: Batch) -> Terms:
        with torch.no_grad():
            fakes = self.fake_pairs(batch)
        terms: Terms = {}
        real, fake = ([self.seen(domain, images) for domain, images in zip(DOMAINS, pairs)]
                      for pairs in (self.reals(batch), fakes))
        for domain, (_, of_real), (_, of_fake) in zip(DOMAINS, real, fake):
            terms |= self.scaled(domain, self.loss.discriminator(of_real, of_fake))
            batch.figures.update({f"real_logit{domain}": of_real.mean(), f"fake_logit{domain}": of_fake.mean()})
        if self.class_weight:
            terms["classes"] = self.class_weight * F.cross_entropy(self.D_shared.classes(real[0][0]), batch.labels)
            apart = (fake[0][0] - fake[1][0]).square().sum(1).mean()
            terms["features"] = self.feature_weight * apart
        return terms

    def generator_loss(self, batch: Batch) -> Terms:
        terms: Terms = {}
        for domain, images in zip(DOMAINS, self.fake_pairs(batch)):
            terms |= self.scaled(domain, self.loss.generator(self.seen(domain, images)[1]))
        return terms

    def scaled(self, domain: str, terms: Terms) -> Terms:
        """A domain's adversarial terms, by names of its own."""
        return {f"{name}{domain}": self.scale * term for name, term in terms.items()}

    def seen(self, domain: str, images: Tensor) -> tuple[Tensor, Tensor]:
        """A domain's discriminator: last features [n, 500] and logits [n]."""
        return self.compiled["D_shared"](self.compiled[f"D{domain}"](images))

    def reals(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Real images of both domains, which do not belong together."""
        second = batch.streams["second"].data
        return batch.reals, self.derive(second) if self.derive else second

    def fake_pairs(self, batch: Batch) -> list[Tensor]:
        """Fakes of both domains, of the same z."""
        shared = self.compiled["G_shared"](latents(self.G_shared, batch.draws))
        return [self.compiled[f"G{domain}"](shared) for domain in DOMAINS]

    @torch.no_grad()
    def draw(self, networks: Mapping[str, nn.Module], preview: Preview) -> Mapping[str, Tensor]:
        """Pairs of the same z; where the second domain is made from the first, also what G1's images would give."""
        first, second = (preview.in_parts(lambda part, name=name: generate(networks[name], part.draws, None))
                         for name in ("G1", "G2"))
        made = {"of G1(z)": self.derive(first)} if self.derive else {}
        return {"G1(z)": first, **made, "G2(z)": second}
