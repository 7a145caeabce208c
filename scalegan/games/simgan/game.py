"""SimGAN (Shrivastava et al., 2017): simulated images, refined until a discriminator of patches takes them for real."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from scalegan.data.spec import Spec
from scalegan.errors import RecipeError
from scalegan.games.base import Batch, Export, Game, Phase, Preview
from scalegan.games.pool import Pool
from scalegan.games.simgan.networks import Discriminator, Refiner
from scalegan.losses import LOSSES, Terms

if TYPE_CHECKING:
    from scalegan.config import Recipe


class SimGAN(Game):
    """L_R = mean of -log D(R(x)) over patches + weight * |R(x) - x|   (eq. 4); L_D = -log D(y) - log(1 - D(R(x)))
    (eq. 2). Both are means where the paper has sums.

    At the start R learns alone, by the difference to its input, then D alone, then both (algorithm 1). Every update has
    a batch of its own, and about half of the refined images that D sees are past ones.

    Args:
        refiner: images [N, C, H, W] -> images; discriminator: images -> logits [N, h, w], positive for real.
        pool: of refined images.
        weight: of the self-regularisation.
        alone: images during which R learns alone, and then D.
        updates: updates per iteration, by player.
    """

    exports = {"R": Export(("R",), ("image",))}
    default, target = "R", "real"

    def __init__(self, refiner: nn.Module, discriminator: nn.Module, pool: Pool, weight: float = 4.0,
                 alone: tuple[int, int] = (0, 0), updates: Mapping[str, int] | None = None) -> None:
        super().__init__()
        self.R, self.D, self.pool = refiner, discriminator, pool
        self.weight, self.loss = weight, LOSSES["non_saturating"]
        self.players = {"R": self.R, "D": self.D}
        self.compiled = dict(self.players)
        updates, first, both = {"R": 2, "D": 1, **(updates or {})}, alone[0], sum(alone)
        self.phases = [Phase("R_alone", ("R",), self.pretraining_loss, between=(0, first)),
                       Phase("D_alone", ("D",), self.discriminator_loss, between=(first, both)),
                       Phase("R", ("R",), self.refiner_loss, updates["R"], between=(both, None)),
                       Phase("D", ("D",), self.discriminator_loss, updates["D"], between=(both, None))]

    @classmethod
    def make(cls, recipe: "Recipe", specs: Mapping[str, Spec]) -> "SimGAN":
        game, shape = recipe.game, specs["simulated"].shape
        if shape != specs["real"].shape:
            raise RecipeError(f"images of data have the shape {list(shape)}, those of streams.real "
                              f"{list(specs['real'].shape)}; prepare both with the same resolution and colours")
        return cls(Refiner(shape[0], game.width, game.blocks), Discriminator(shape[0]),
                   Pool(game.pool, shape, recipe.batch_size), game.self_regularisation,
                   (game.pretrain_refiner_images, game.pretrain_discriminator_images), game.updates)

    def pretraining_loss(self, batch: Batch) -> Terms:
        simulated = batch.streams["simulated"].data
        return {"l1": l1_loss(self.compiled["R"](simulated), simulated)}

    def refiner_loss(self, batch: Batch) -> Terms:
        simulated = batch.streams["simulated"].data
        refined = self.compiled["R"](simulated)
        change = l1_loss(refined, simulated)
        batch.figures.update(l1=change)
        return {**self.loss.generator(self.compiled["D"](refined)), "self_regularisation": self.weight * change}

    def discriminator_loss(self, batch: Batch) -> Terms:
        with torch.no_grad():
            refined = self.compiled["R"](batch.streams["simulated"].data)
        real, fake = (self.compiled["D"](images) for images in
                      (batch.streams["real"].data, self.pool.exchange(batch, refined)))
        right = ((real > 0).float().mean() + (fake < 0).float().mean()) / 2
        batch.figures.update(accuracy=right, real_logit=real.mean(), fake_logit=fake.mean())
        return self.loss.discriminator(real, fake)

    @torch.no_grad()
    def draw(self, networks: Mapping[str, nn.Module], preview: Preview) -> Mapping[str, Tensor]:
        """Simulated images, these refined, and real ones."""
        simulated, real = (preview.samples[name].data for name in ("simulated", "real"))
        return {"simulated": simulated, "refined": networks["R"](simulated), "real": real}

    @torch.no_grad()
    def fakes(self, networks: Mapping[str, nn.Module], preview: Preview) -> Tensor:
        return networks["R"](preview.samples["simulated"].data)
