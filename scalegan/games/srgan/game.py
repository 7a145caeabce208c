"""SRGAN and SRResNet (Ledig et al., 2017): G enlarges an image, and D sees whether it is one that was large."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, l1_loss, mse_loss

from scalegan.config.game import REAL
from scalegan.data.derived import DERIVED, resized
from scalegan.data.spec import Spec
from scalegan.errors import RecipeError
from scalegan.games.base import Batch, Export, Game, Phase, Preview
from scalegan.games.srgan.degradations import degraded
from scalegan.games.srgan.settings import SRGAN as Settings
from scalegan.losses import LOSSES, Terms
from scalegan.models import efflite0, srresnet
from scalegan.randomness import Draws

if TYPE_CHECKING:
    from scalegan.config import Recipe

_DISTANCES = {"l1": l1_loss, "l2": mse_loss}
_LOSS = LOSSES["non_saturating"]


class SRGAN(Game):
    """min_G l(G(x), y) - weight * log D(G(x)),  min_D -log D(y) - log(1 - D(G(x)))   (eq. 2 to 6).

    x is the reduction of the image y; l is a distance between pixels, features of a frozen network, or both. A batch
    moves D, then G. During the pretraining, G minimises the distance between pixels alone: that is SRResNet. It belongs
    to the run, so that a resumed run needs no other file.

    Args:
        generator: x [N, C, H / s, W / s] -> [N, C, H, W].
        discriminator: [N, C, H, W] -> logits [N]; None for SRResNet.
        kind: the name in `DERIVED` of what makes x.
        settings: the keys under `game`.
        features: images -> features of the perceptual term; None if its weight is 0.
    """

    target = REAL

    def __init__(self, generator: nn.Module, discriminator: nn.Module | None, kind: str, settings: Settings,
                 features: nn.Module | None = None) -> None:
        super().__init__()
        self.G, self.kind, self.settings = generator, kind, settings
        self.players = {"G": self.G}
        if discriminator is not None:
            self.players["D"] = self.D = discriminator
        self.fixed = {} if features is None else {"features": features}
        self.compiled, self.distance = dict(self.players), _DISTANCES[settings.pixel]
        self.phases, self.exports = self._phases(), {"G": Export(("G",), (kind,))}

    @classmethod
    def make(cls, recipe: "Recipe", specs: Mapping[str, Spec]) -> "SRGAN":
        game = recipe.game
        return cls(cls.player(recipe, specs, "G"), cls.player(recipe, specs, "D") if game.adversarial_weight else None,
                   f"small{recipe.model.scale}", game, _features() if game.perceptual_weight else None)

    @classmethod
    def player(cls, recipe: "Recipe", specs: Mapping[str, Spec], name: str) -> nn.Module:
        model, (channels, *sides) = recipe.model, specs[REAL].shape
        if name == "D":
            return srresnet.Discriminator(recipe.game.crop or sides, channels, model.d_width, model.norm_group)
        return srresnet.Generator(channels, model.scale, model.width, model.blocks, model.norm_group)

    def _phases(self) -> list[Phase]:
        """G alone for the pretraining, if there is one, and then D and G; without D, G throughout."""
        if "D" not in self.players:
            return [Phase("G", ("G",), self.generator_loss)]
        start = self.settings.pretraining
        alone = [Phase("pretraining", ("G",), self.pixel_loss, between=(0, start))] if start else []
        return [*alone, Phase("D", ("D",), self.discriminator_loss, between=(start, None)),
                Phase("G", ("G",), self.generator_loss, fresh_batch=False, draws="D", between=(start, None))]

    def pair(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """G's input, and the image that it should answer with."""
        images, side = batch.reals, self.settings.crop
        if side:
            images = cut(images, side, _corners(batch.draws, [length - side for length in images.shape[2:]]))
        return degraded(images, self.kind, self.settings.degrade, batch.draws.of("degrade")), images

    def discriminator_loss(self, batch: Batch) -> Terms:
        x, y = self.pair(batch)
        with torch.no_grad():
            answer = self.compiled["G"](x)
        real, fake = self.compiled["D"](y), self.compiled["D"](answer)
        batch.figures.update(real_logit=real.mean(), fake_logit=fake.mean())
        return _LOSS.discriminator(real, fake)

    def pixel_loss(self, batch: Batch) -> Terms:
        x, y = self.pair(batch)
        return {"pixel": self.distance(self.compiled["G"](x), y)}

    def generator_loss(self, batch: Batch) -> Terms:
        x, y = self.pair(batch)
        answer, terms = self.compiled["G"](x), {}
        if self.settings.adversarial_weight:
            fooled = _LOSS.generator(self.compiled["D"](answer), None)
            terms = {name: self.settings.adversarial_weight * term for name, term in fooled.items()}
        if self.settings.pixel_weight:
            terms["pixel"] = self.settings.pixel_weight * self.distance(answer, y)
        if self.settings.perceptual_weight:
            features = self.fixed["features"]
            with torch.no_grad():
                wanted = features(y)
            terms["perceptual"] = self.settings.perceptual_weight * mse_loss(features(answer), wanted)
        return terms

    @torch.no_grad()
    def draw(self, networks: Mapping[str, nn.Module], preview: Preview) -> Mapping[str, Tensor]:
        """Inputs, pixel by pixel and enlarged by a bicubic filter; answers, and the images."""
        y = preview.samples[REAL].data
        x = DERIVED[self.kind].make(y)
        return {"input": interpolate(x, y.shape[2:], mode="nearest"),
                "bicubic": resized(x, y.shape[2:]).clamp(-1, 1),
                "answer": preview.in_parts(partial(self.fakes, networks)).clamp(-1, 1), "target": y}

    @torch.no_grad()
    def fakes(self, networks: Mapping[str, nn.Module], preview: Preview) -> Tensor:
        return networks["G"](DERIVED[self.kind].make(preview.samples[REAL].data))


def _corners(draws: Draws, room: Sequence[int]) -> Tensor:
    """Upper left corners (y, x) [N, 2] of what is cut out, from 0 to the room that there is along each axis."""
    down, across = room
    if down == across:
        return draws.integers("crop", down + 1, 2)
    return torch.stack([draws.integers("crop/y", down + 1), draws.integers("crop/x", across + 1)], 1)


def cut(images: Tensor, side: int, corners: Tensor) -> Tensor:
    """Squares [N, C, side, side] of images [N, C, H, W] from their upper left corners (y, x) [N, 2]."""
    sample, channel, line = (torch.arange(size, device=images.device) for size in (*images.shape[:2], side))
    rows, columns = (corners[:, axis, None] + line for axis in range(2))        # [N, side]
    return images[sample[:, None, None, None], channel[:, None, None], rows[:, None, :, None],
                  columns[:, None, None, :]]


def _features() -> nn.Module:
    try:
        return efflite0.Features()
    except ImportError:
        raise RecipeError("game.perceptual_weight needs packages that are not installed: pip install "
                          "'scalegan[metrics]'") from None
