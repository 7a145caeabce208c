"""Adversarial flow models, in one step (Lin et al., 2025, "Adversarial Flow Models", section 3)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from scalegan.config import Schedule
from scalegan.data.spec import Spec
from scalegan.games.base import Batch
from scalegan.games.gan.game import GAN, Discriminate
from scalegan.games.sampling import latents
from scalegan.losses import Terms
from scalegan.models import families
from scalegan.models.layers.tracked import Tracked
from scalegan.schedules import at

if TYPE_CHECKING:
    from scalegan.config import Recipe


class AdversarialFlow(GAN):
    """A relativistic game with two more terms: of G, `transport` E mean (G(z) - z)^2, which among all maps from noise
    to data chooses one that moves little; of D, `centring` E (D(x) + D(G(z)))^2.

    Args:
        transport, centring: their weights.
        gradient_decay: see `NormalisedGradient`; None leaves the gradient from D as it is.
        arguments, further: passed on to GAN.
    """

    def __init__(self, *arguments: Any, transport: float | Schedule = 0.2, centring: float = 0.01,
                 gradient_decay: float | None = 0.9, **further: Any) -> None:
        super().__init__(*arguments, **further)
        self.transport, self.centring = transport, centring
        self.normalised = None if gradient_decay is None else NormalisedGradient(gradient_decay)

    @classmethod
    def networks(cls, recipe: "Recipe", spec: Spec) -> tuple[nn.Module, nn.Module]:
        return families.transport(recipe.model, spec), families.discriminator(recipe.model, spec)

    @classmethod
    def player(cls, recipe: "Recipe", specs: Mapping[str, Spec], name: str) -> nn.Module:
        if name == "G":
            return families.transport(recipe.model, next(iter(specs.values())))
        return super().player(recipe, specs, name)

    @classmethod
    def further(cls, settings: Any) -> dict[str, Any]:
        return {key: getattr(settings, key) for key in ("transport", "centring", "gradient_decay")}

    def adversarial_terms(self, discriminator: Discriminate, batch: Batch, reals: Tensor, real: Tensor,
                          fake: Tensor) -> Terms:
        terms = super().adversarial_terms(discriminator, batch, reals, real, fake)
        if self.directed:
            real, fake = real[..., 0], fake[..., 0]
        return {**terms, "centring": self.centring * (real + fake).square().mean()}

    def fooling_terms(self, batch: Batch, condition: Tensor | None) -> tuple[Terms, Tensor]:
        z = latents(self.G, batch.draws)
        made = self.compiled["G"](z, condition)
        seen = self.augmented(made, batch, "fake")
        given = seen.detach().requires_grad_() if self.normalised else seen
        real = self.compiled["D"](self.augmented(batch.reals, batch, "real"), batch.labels)
        terms = self.loss.generator(self.compiled["D"](given, condition), real)
        if self.normalised:
            terms = {name: self.normalised(term, given, seen) for name, term in terms.items()}
        moved = (made - z.view_as(made)).square().mean()
        return {**terms, "transport": at(self.transport, batch.images) * moved}, seen


class NormalisedGradient(Tracked):
    """Gives G the gradient g that D sends to each sample, divided by sqrt(n E |g|^2), with n elements in a sample and a
    moving average E over samples: its norm is then about 1 / sqrt(n).

    The published code averages within the backward pass, from 0 on; here the average is that of whole batches, and the
    first one counts in full.

    Args:
        decay: what an update keeps of the average.
    """

    def __init__(self, decay: float = 0.9) -> None:
        super().__init__()
        self.decay, self.statistics = decay, {"square": ()}
        self.register_buffer("square", torch.zeros(()))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def forward(self, loss: Tensor, given: Tensor, seen: Tensor) -> Tensor:
        """The loss [], as a function of what D sees.

        Args:
            loss: a mean over samples, as a function of `given`.
            given: a leaf [n, ...]; `seen`: the same values, as a function of G's weights.
        """
        slope, = torch.autograd.grad(loss, given)
        slope = slope.to(self.square.dtype) * len(given)                        # of each sample's own loss
        square = slope.square().flatten(1).sum(1).mean() * slope[0].numel()
        self.observe(square=square)
        scale = self._moved(square).clamp(min=1e-20).rsqrt()
        along = (seen * (scale * slope)).flatten(1).sum(1).mean()
        return loss.detach() + along - along.detach()

    def advance(self, square: Tensor) -> None:
        self.square.copy_(self._moved(square))
        self.updates += 1

    def _moved(self, square: Tensor) -> Tensor:
        return self.square.lerp(square.to(self.square.dtype), torch.where(self.updates == 0, 1.0, 1 - self.decay))
