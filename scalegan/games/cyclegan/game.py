"""CycleGAN (Zhu et al., 2017): two generators that undo each other, and a discriminator for each domain."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, l1_loss, mse_loss

from scalegan.data.spec import Spec
from scalegan.errors import RecipeError
from scalegan.games.base import Batch, Export, Game, Phase, Preview
from scalegan.games.pool import Pool
from scalegan.losses import Terms
from scalegan.models import image_to_image
from scalegan.models.layers.dropout import drawn_from
from scalegan.models.patch import mean_logit
from scalegan.support.resolution import of_sides

if TYPE_CHECKING:
    from scalegan.config import Recipe

_LOSSES = {"least_squares": mse_loss, "non_saturating": binary_cross_entropy_with_logits}


class CycleGAN(Game):
    """L = L_GAN(G_A, D_A) + L_GAN(G_B, D_B) + cycle * (|G_B(G_A(a)) - a| + |G_A(G_B(b)) - b|)   (eq. 3).

    Names are those of the published PyTorch code: G_A translates A to B, and D_A tells images of B from translations.
    As there, the generators and the discriminators take their gradients from the same translations and weights before
    any steps; losses of D are halved, and D sees past translations from a pool.

    Args:
        generators: G_A and G_B; discriminators: D_A and D_B, images -> logits by scale [N, 1, h, w].
        pools: of translations, for D_A and D_B.
        loss: "least_squares" or "non_saturating".
        identity: weight of the identity term, relative to `cycle`.
    """

    exports = {"A_to_B": Export(("G_A",), ("image",)), "B_to_A": Export(("G_B",), ("image",))}
    default, target = "A_to_B", "B"

    def __init__(self, generators: Sequence[nn.Module], discriminators: Sequence[nn.Module], pools: Sequence[Pool],
                 loss: str = "least_squares", cycle: float = 10.0, identity: float = 0.0) -> None:
        super().__init__()
        (self.G_A, self.G_B), (self.D_A, self.D_B), (self.pool_A, self.pool_B) = generators, discriminators, pools
        self.loss, self.cycle, self.identity = _LOSSES[loss], cycle, identity
        self.players = {"G_A": self.G_A, "G_B": self.G_B, "D_A": self.D_A, "D_B": self.D_B}
        self.compiled = dict(self.players)
        self.phases = [Phase("G", ("G_A", "G_B"), self.generator_loss, step_with="D"),
                       Phase("D", ("D_A", "D_B"), self.discriminator_loss, fresh_batch=False, draws="G")]

    @classmethod
    def make(cls, recipe: "Recipe", specs: Mapping[str, Spec]) -> "CycleGAN":
        game, model = recipe.game, recipe.model
        (of_a, *size), (of_b, *other) = specs["A"].shape, specs["B"].shape
        if size != other:
            raise RecipeError(f"streams.B has images of {of_sides(*other)} px, and data of {of_sides(*size)} px; "
                              "prepare both at one size")
        if game.identity and of_a != of_b:
            raise RecipeError("game.identity needs both domains grey or both in colour; leave it out")
        return cls([image_to_image.generator(model, of_a, of_b, size),
                    image_to_image.generator(model, of_b, of_a, size)],
                   [image_to_image.discriminator(model, of_b), image_to_image.discriminator(model, of_a)],
                   [Pool(game.pool, specs[domain].shape, recipe.batch_size) for domain in "BA"],
                   game.loss, game.cycle, game.identity)

    def translated(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """G_A(a) and G_B(b)."""
        a, b = (batch.streams[domain].data for domain in "AB")
        with drawn_from(batch.draws, self.G_A, self.G_B):
            return self.compiled["G_A"](a), self.compiled["G_B"](b)

    def generator_loss(self, batch: Batch) -> Terms:
        a, b = (batch.streams[domain].data for domain in "AB")
        to_b, to_a = self.translated(batch)
        terms = {"G_A": self.adversarial(self.compiled["D_A"](to_b), 1.0),
                 "G_B": self.adversarial(self.compiled["D_B"](to_a), 1.0)}
        with drawn_from(batch.draws.of("back"), self.G_A, self.G_B):
            again_a, again_b = self.compiled["G_B"](to_b), self.compiled["G_A"](to_a)
        cycles = {"cycle_A": l1_loss(again_a, a), "cycle_B": l1_loss(again_b, b)}
        batch.figures.update(cycle_l1=(cycles["cycle_A"] + cycles["cycle_B"]) / 2)
        if self.cycle:
            terms |= {name: self.cycle * term for name, term in cycles.items()}
        if self.identity:
            with drawn_from(batch.draws.of("same"), self.G_A, self.G_B):
                same = l1_loss(self.compiled["G_A"](b), b) + l1_loss(self.compiled["G_B"](a), a)
            terms["identity"] = self.identity * self.cycle * same
        return terms

    def discriminator_loss(self, batch: Batch) -> Terms:
        with torch.no_grad():
            to_b, to_a = self.translated(batch)
        terms = {}
        for name, real, fake, pool in (("A", "B", to_b, self.pool_A), ("B", "A", to_a, self.pool_B)):
            seen = pool.exchange(batch, fake, f"pool_{name}")
            discriminator = self.compiled[f"D_{name}"]
            of_real, of_fake = discriminator(batch.streams[real].data), discriminator(seen)
            batch.figures.update({f"real_logit_{name}": mean_logit(of_real), f"fake_logit_{name}": mean_logit(of_fake)})
            terms |= {f"real_{name}": self.adversarial(of_real, 1.0) / 2,
                      f"fake_{name}": self.adversarial(of_fake, 0.0) / 2}
        return terms

    def adversarial(self, by_scale: Sequence[Tensor], target: float) -> Tensor:
        """The adversarial loss [] of logits that should be real (1) or fake (0), summed over the scales."""
        return torch.stack([self.loss(logits, torch.full_like(logits, target)) for logits in by_scale]).sum()

    @torch.no_grad()
    def draw(self, networks: Mapping[str, nn.Module], preview: Preview) -> Mapping[str, Tensor]:
        """Images of both domains, their translations, and these translated back."""
        found = {}
        for domain, there, back in (("A", "A_to_B", "B_to_A"), ("B", "B_to_A", "A_to_B")):
            images = preview.samples[domain].data
            other = networks[there](images)
            found |= {domain: images, there.replace("_", " "): other, f"back to {domain}": networks[back](other)}
        return found

    def cycles(self, networks: Mapping[str, nn.Module], preview: Preview) -> Mapping[str, tuple[Tensor, Tensor]]:
        drawn = self.draw(networks, preview)
        return {domain: (drawn[domain], drawn[f"back to {domain}"]) for domain in "AB"}

    @torch.no_grad()
    def fakes(self, networks: Mapping[str, nn.Module], preview: Preview) -> Tensor:
        return networks["A_to_B"](preview.samples["A"].data)
