"""Text to image (Reed et al., 2016, sections 4.2 and 4.3): pairs of image and text are real, mismatched, or fake.

    L_D = -log s(x, t) - (log(1 - s(x, t')) + log(1 - s(G(z, t), t))) / 2,   t' the text of another image,
    L_G = -log s(G(z, t), t),   also at t = beta t_1 + (1 - beta) t_2.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from scalegan.data.spec import Spec
from scalegan.games.base import Batch
from scalegan.games.gan import objectives
from scalegan.games.gan.game import GAN
from scalegan.games.text_to_image.augmentation import ConditioningAugmentation
from scalegan.losses import Terms
from scalegan.models import families

if TYPE_CHECKING:
    from scalegan.config import Recipe


class TextToImage(GAN):
    """The two-player game on pairs of image and text; a fake has the text of a real one.

    Args:
        matching_aware: D's loss is the mean of those against fakes and against mismatched pairs.
        interpolated: weight of interpolated texts in G's loss, relative to texts.
        beta: share of the first text in an interpolated one.
        divergence: weight of the divergence of a `ConditioningAugmentation`, which G then is.
        arguments, further: passed on to GAN.
    """

    def __init__(self, *arguments, matching_aware: bool = True, interpolated: float = 0.5, beta: float = 0.5,
                 divergence: float = 0.0, **further) -> None:
        super().__init__(*arguments, **further)
        self.matching_aware, self.interpolated, self.beta = matching_aware, interpolated, beta
        self.divergence = divergence

    def _called_by_forward(self) -> frozenset[str]:
        return super()._called_by_forward() - {"G"}      # its divergence is another method

    @classmethod
    def networks(cls, recipe: "Recipe", spec: Spec) -> tuple[nn.Module, nn.Module]:
        return cls.generator(recipe, spec), families.discriminator(recipe.model, spec)

    @classmethod
    def generator(cls, recipe: "Recipe", spec: Spec) -> nn.Module:
        """The family's generator, of the text or of a condition drawn around it."""
        augmentation = recipe.game.conditioning_augmentation
        if augmentation is None:
            return families.generator(recipe.model, spec)
        return ConditioningAugmentation(families.generator(recipe.model, replace(spec, vector_dim=augmentation.dim)),
                                        spec.vector_dim, augmentation.dim)

    @classmethod
    def player(cls, recipe: "Recipe", specs: Mapping[str, Spec], name: str) -> nn.Module:
        if name == "G":
            return objectives.generator(recipe.game, cls.generator(recipe, next(iter(specs.values()))))
        return super().player(recipe, specs, name)

    @classmethod
    def further(cls, settings: Any) -> dict[str, Any]:
        augmentation = settings.conditioning_augmentation
        return {"matching_aware": settings.matching_aware, "interpolated": settings.interpolated,
                "beta": settings.beta, "divergence": augmentation.weight if augmentation else 0.0}

    def fake_condition(self, batch: Batch) -> Tensor | None:
        """The reals' texts: those of fakes match what D sees as real."""
        return batch.labels

    def adversarial_terms(self, discriminator: Callable, batch: Batch, reals: Tensor, real: Tensor,
                          fake: Tensor) -> Terms:
        terms = super().adversarial_terms(discriminator, batch, reals, real, fake)
        if not self.matching_aware:
            return terms
        mismatched = discriminator(reals, batch.condition(different=True), *self.directed)
        batch.figures.update(mismatched_logit=mismatched.mean())
        against = self.loss.discriminator(real, mismatched)
        name = "pair" if "pair" in terms else "fake"
        if "direction" in terms:
            terms["direction"] = (terms["direction"] + against["direction"]) / 2
        return {**terms, name: terms[name] / 2, "mismatched": against[name] / 2}

    def generator_loss(self, batch: Batch) -> Terms:
        terms = super().generator_loss(batch)
        if self.divergence:
            terms["text_divergence"] = self.divergence * self.G.divergence(batch.labels)
        if not self.interpolated:
            return terms
        name = "pair" if "pair" in terms else "fake"
        texts = self.beta * batch.labels + (1 - self.beta) * batch.condition()
        between, _ = self.fooling_terms(replace(batch, draws=batch.draws.of("interpolated")), texts)
        whole = 1 + self.interpolated
        return {**terms, name: terms[name] / whole, "interpolated": self.interpolated * between[name] / whole}
