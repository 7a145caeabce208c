"""Generator against discriminator, under any loss and penalties (Goodfellow et al., 2014, and since)."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from scalegan.augment import Augment
from scalegan.augment.choice import augment_of
from scalegan.augment.levels import NoisyLevels
from scalegan.data.spec import Spec
from scalegan.games.adaptive_updates import AdaptiveUpdates
from scalegan.games.base import Batch, Game, Phase
from scalegan.games.compiled import differentiable, with_gradient
from scalegan.games.fakes import StyledFakes, every_level, plain_fakes
from scalegan.games.gan import objectives
from scalegan.games.penalties import DiscriminatorPass, Penalty, Side
from scalegan.games.penalties.path_length import PathLength
from scalegan.losses import AdversarialLoss, Terms
from scalegan.models import families
from scalegan.models.layers.slicing import is_sliced

if TYPE_CHECKING:
    from scalegan.config import Recipe

Discriminate = Callable[[Tensor, Tensor | None], Tensor]


class GAN(Game):
    """The two-player game.

    Args:
        generator: (z, condition) -> images; discriminator: (images, condition) -> logits [N]. If the generator's
            `levels` is above 1, it gives as many outputs if it is asked for `levels`, and D takes them all at once.
        loss: one of `scalegan.losses`; for a discriminator with SAN's last layer, `losses.directed` of one.
        penalties: penalties by name, in the order in which their terms are added; see `scalegan.games.penalties`.
        augment: applied to reals and fakes alike before D sees them, in every phase.
        fakes_of: makes fakes from the generator, a batch and conditions.
        order: the order in which the players move.
        fresh_batch: phases that take a batch of their own; the others reuse the last one.
        updates: updates per iteration by phase, where not 1.
        adaptive: rule that adapts these numbers to the losses, or None.
        clip: D's weights are clipped to [-clip, clip] after each of its updates (Arjovsky et al., 2017), or None.
    """

    def __init__(self, generator: nn.Module, discriminator: nn.Module, loss: AdversarialLoss,
                 penalties: Mapping[str, Penalty] | None = None, augment: Augment | None = None,
                 fakes_of: Callable[[nn.Module, Batch, Tensor | None], Tensor] = plain_fakes,
                 order: Sequence[str] = ("D", "G"), fresh_batch: Sequence[str] = ("D",),
                 updates: Mapping[str, int] | None = None, adaptive: AdaptiveUpdates | None = None,
                 clip: float | None = None) -> None:
        super().__init__()
        self.G, self.D, self.loss, self.fakes_of = generator, discriminator, loss, fakes_of
        self.directed = (True,) if is_sliced(discriminator) else ()     # what else D is given for the loss's logits
        self.players = {"G": self.G, "D": self.D}
        self.compiled = dict(self.players)
        self.augment = augment or Augment()
        self.penalties = list((penalties or {}).values())
        self.path_length = (penalties or {}).get("path_length")     # this name and `tricks` appear in checkpoints
        tricks = {name: p for name, p in (penalties or {}).items() if not isinstance(p, PathLength)}
        self.tricks = nn.ModuleDict(tricks | ({"adaptive_updates": adaptive} if adaptive else {}))
        self.pairs = any(penalty.pairs for penalty in self.penalties)
        self.bounds = {"D": clip} if clip else {}
        self.fixed = {**getattr(discriminator, "fixed", {}),
                      **{name: network for penalty in self.penalties for name, network in penalty.fixed.items()}}
        whole = frozenset().union(*(penalty.needs_whole for penalty in self.penalties))
        self.by_forward = self._called_by_forward() - whole
        updates = {"G": 1, "D": 1, **(updates or {})}
        losses = {"D": self.discriminator_loss, "G": self.generator_loss}
        self.phases = []
        for player in order:
            self.phases.append(Phase(player, (player,), losses[player], updates[player], player in fresh_batch))
            self.phases += [Phase(f"{player}.{_short(name)}", (player,), partial(penalty.lazy_terms, self), 1, False,
                                  penalty.every, updates[player])
                            for name, penalty in (penalties or {}).items() if penalty.lazy_player == player]

    def _called_by_forward(self) -> frozenset[str]:
        """Players whose networks the losses, without penalties, call through `forward` alone."""
        return frozenset({"G", "D"} if self.fakes_of in (plain_fakes, every_level) else {"D"})

    @classmethod
    def make(cls, recipe: "Recipe", specs: Mapping[str, Spec]) -> "GAN":
        spec, settings = next(iter(specs.values())), recipe.game
        generator, discriminator = cls.networks(recipe, spec)
        generator = objectives.generator(settings, generator)
        discriminator = objectives.discriminator(recipe, spec, discriminator)
        if not objectives.differentiates(settings):
            for network in (generator, discriminator):
                families.fuse_attention(network)
        adaptive = settings.tricks.adaptive_updates
        augment, fakes_of = augment_of(recipe), plain_fakes
        if recipe.model.name == "stylegan2":
            fakes_of = StyledFakes(recipe.model.mixing)
        if getattr(generator, "levels", 1) > 1:
            augment, fakes_of = NoisyLevels(augment, generator.levels), every_level
        return cls(generator, discriminator, objectives.loss(settings),
                   objectives.penalties(settings, generator, discriminator), augment, fakes_of,
                   settings.order, settings.fresh_batch, settings.updates,
                   AdaptiveUpdates(adaptive.ratio, adaptive.updates) if adaptive else None, objectives.clip(settings),
                   **cls.further(settings))

    @classmethod
    def networks(cls, recipe: "Recipe", spec: Spec) -> tuple[nn.Module, nn.Module]:
        """Generator and discriminator for these samples; by default, those of `model`."""
        if recipe.game.discriminator:
            return families.generator(recipe.model, spec), objectives.projected(recipe.game.discriminator, spec)
        return families.build(recipe.model, spec)

    @classmethod
    def further(cls, settings: Any) -> dict[str, Any]:
        """Further constructor arguments of a subclass."""
        return {}

    @classmethod
    def player(cls, recipe: "Recipe", specs: Mapping[str, Spec], name: str) -> nn.Module:
        """Builds a generator without its discriminator, which a family may not have at every size."""
        if name == "G":
            return objectives.generator(recipe.game, families.generator(recipe.model, next(iter(specs.values()))))
        return super().player(recipe, specs, name)

    def discriminator_loss(self, batch: Batch) -> Terms:
        """D learns to tell reals from fakes; BatchNorm sees them as separate batches. Penalties differentiate with
        respect to images before augmentation."""
        condition = batch.labels if self.pairs else self.fake_condition(batch)
        with torch.no_grad():
            fakes = self.fakes_of(self.compiled["G"], batch, condition)
        sides = [side for penalty in self.penalties for side in penalty.differentiates]
        reals = batch.reals.detach().requires_grad_("real" in sides)
        fakes = fakes.detach().requires_grad_("fake" in sides)
        gives_gradient = differentiable(self.compiled["D"])
        discriminator = self.D if sides and not gives_gradient else self.compiled["D"]
        augmented = self.augmented(reals, batch, "real"), self.augmented(fakes, batch, "fake")
        asked = [gives_gradient and side in sides for side in ("real", "fake")]
        if getattr(self.D, "per_sample", False) and ("real" in sides) == ("fake" in sides):
            of_both = self._answer(discriminator, torch.cat(augmented), None if condition is None else
                                   torch.cat([batch.labels, condition]), asked[0])
            (real, fake), (of_real, of_fake) = ([None] * 2 if part is None else part.chunk(2) for part in of_both)
        else:
            real, of_real = self._answer(discriminator, augmented[0], batch.labels, asked[0])
            fake, of_fake = self._answer(discriminator, augmented[1], condition, asked[1])
        of_loss = real, fake
        if self.directed:
            real, fake = real[..., 0], fake[..., 0]
        batch.figures.update(real_logit=real.mean(), fake_logit=fake.mean(), **self.augment.watch(real, batch.images))
        terms = self.adversarial_terms(discriminator, batch, augmented[0].detach(), *of_loss)
        d_pass = DiscriminatorPass(discriminator, batch, Side(reals, augmented[0], batch.labels, real, of_real),
                    Side(fakes, augmented[1], condition, fake, of_fake), sides)
        for penalty in self.penalties:
            terms |= penalty.discriminator_terms(self, d_pass)
        return terms

    def _answer(self, discriminator: Discriminate, images: Tensor, condition: Tensor | None,
                and_gradient: bool) -> tuple[Tensor, Tensor | None]:
        """Logits [n] for the loss, [n, 2] with SAN's last layer, and, if asked for, their gradient; see `Side`. The
        second of two logits has none."""
        if and_gradient:
            return with_gradient(discriminator, images.detach(), condition, *self.directed)
        return discriminator(images, condition, *self.directed), None

    def adversarial_terms(self, discriminator: Discriminate, batch: Batch, reals: Tensor, real: Tensor,
                          fake: Tensor) -> Terms:
        """D's terms without penalties, from its logits [n] of reals and fakes, [n, 2] with SAN's last layer, and the
        reals as it sees them."""
        return self.loss.discriminator(real, fake)

    def generator_loss(self, batch: Batch) -> Terms:
        """G learns to make fakes that pass for real."""
        condition = self.fake_condition(batch)
        terms, fakes = self.fooling_terms(batch, condition)
        for penalty in self.penalties:
            terms |= penalty.generator_terms(self, batch, fakes, condition)
        return terms

    def fooling_terms(self, batch: Batch, condition: Tensor | None) -> tuple[Terms, Tensor]:
        """G's terms without penalties, for fakes of these conditions, and the fakes as D sees them."""
        fakes = self.augmented(self.fakes_of(self.compiled["G"], batch, condition), batch, "fake")
        discriminator = self.opponent(batch, fakes, condition)
        fake = discriminator(fakes, condition)
        real = None
        if self.loss.needs_reals:
            real = discriminator(self.augmented(batch.reals, batch, "real"), batch.labels)
        return self.loss.generator(fake, real), fakes

    def opponent(self, batch: Batch, fakes: Tensor, condition: Tensor | None) -> Discriminate:
        """The discriminator that G has to fool: D as it is."""
        return self.compiled["D"]

    def fake_condition(self, batch: Batch) -> Tensor | None:
        """Conditions of fakes: drawn from the data's distribution, or the reals' if the loss compares pairs."""
        return batch.labels if self.loss.paired else batch.condition()

    def repeats(self, phase: Phase) -> int:
        return self.tricks["adaptive_updates"].repeats(phase) if "adaptive_updates" in self.tricks else phase.updates

    def after(self, phase: Phase, figures: Terms) -> None:
        for penalty in self.penalties:
            penalty.after(self, phase, figures)
        if "adaptive_updates" in self.tricks:
            self.tricks["adaptive_updates"].after(phase, figures)


def _short(name: str) -> str:
    """A penalty's part of its phase's name: D.r1, G.path."""
    return "path" if name == "path_length" else name
