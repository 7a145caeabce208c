"""pix2pix (Isola et al., 2017): G turns an image into another, and D sees the pair."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss, mse_loss

from scalegan import penalties
from scalegan.data.derived import DERIVED
from scalegan.data.spec import Spec
from scalegan.errors import RecipeError
from scalegan.games.base import Batch, Export, Game, Phase, Preview, Sample
from scalegan.games.gan import objectives
from scalegan.games.penalties import squared_gradients
from scalegan.games.pix2pix.lab import Colourised, chroma
from scalegan.games.pix2pix.settings import INPUT, PAIRED, TARGET
from scalegan.losses import AdversarialLoss, Terms
from scalegan.models import autoencoder, image_to_image
from scalegan.models.layers.dropout import drawn_from
from scalegan.models.patch import mean_logit
from scalegan.support.resolution import of_sides

if TYPE_CHECKING:
    from scalegan.config import Recipe

LIGHTNESS = "lightness"
_DISTANCES = {"l1": l1_loss, "l2": mse_loss}


class Pix2Pix(Game):
    """G* = arg min_G max_D L_cGAN(G, D) + weight * |y - G(x)|   (eq. 4).

    D's loss is halved, as in the paper; G's adversarial loss is that of `loss`. Both phases see the same batch and the
    same answers: dropout is G's only noise (section 3.1).

    Args:
        generator: input [N, C, H, W] -> answer.
        discriminator: input and answer, joined, -> logits by scale [N, 1, h, w]; or, as an energy, answer -> [N].
        source: a name in `DERIVED`, or "paired".
        loss: adversarial loss; `adversarial`: its weight in G's loss, 0 to leave D alone.
        distance: between answer and target, times `weight`; None for none.
        matching: weight of feature matching.
        penalty: weight of the gradient penalty; 0 for none.
        clip: bound of D's weights, or None.
        updates: updates per iteration by player, where not 1.
    """

    target = TARGET

    def __init__(self, generator: nn.Module, discriminator: nn.Module, source: str, loss: AdversarialLoss,
                 adversarial: float = 1.0, distance: Callable[[Tensor, Tensor], Tensor] | None = l1_loss,
                 weight: float = 100.0, matching: float = 0.0, penalty: float = 0.0, clip: float | None = None,
                 updates: Mapping[str, int] | None = None) -> None:
        super().__init__()
        self.G, self.D, self.source, self.loss = generator, discriminator, source, loss
        self.adversarial, self.distance, self.weight = adversarial, distance, weight
        self.matching, self.penalty = matching, penalty
        self.energy = isinstance(discriminator, autoencoder.AutoEncoder)
        self.players = {"G": self.G, "D": self.D}
        self.compiled = dict(self.players)
        self.bounds = {"D": clip} if clip else {}
        updates = {"G": 1, "D": 1, **(updates or {})}
        self.phases = [Phase("G", ("G",), self.generator_loss, updates["G"])]
        if adversarial or matching:
            self.phases = [Phase("D", ("D",), self.discriminator_loss, updates["D"]),
                           replace(self.phases[0], fresh_batch=False, draws="D")]
        self.exports = {"G": Export(("G",), ("image" if source == PAIRED else source,))}

    @classmethod
    def make(cls, recipe: "Recipe", specs: Mapping[str, Spec]) -> "Pix2Pix":
        settings, model, spec = recipe.game, recipe.model, specs[TARGET]
        inputs, outputs = _channels(settings.input, specs)
        sides = spec.shape[1:]
        if settings.input == PAIRED and specs[INPUT].shape[1:] != sides:
            raise RecipeError(f"streams.input has images of {of_sides(*specs[INPUT].shape[1:])} px, and data of "
                              f"{of_sides(*sides)} px; prepare both at one size")
        if settings.loss == "ebgan":
            discriminator = image_to_image.energy(model, outputs, sides)
        else:
            discriminator = image_to_image.discriminator(model, inputs + outputs)
        return cls(image_to_image.generator(model, inputs, outputs, sides), discriminator, settings.input,
                   objectives.plain_loss(settings), settings.adversarial_weight, _DISTANCES.get(settings.pixel),
                   settings.pixel_weight, settings.feature_matching,
                   settings.gradient_penalty if settings.loss == "wgan_gp" else 0.0, objectives.clip(settings),
                   settings.updates)

    @classmethod
    def player(cls, recipe: "Recipe", specs: Mapping[str, Spec], name: str) -> nn.Module:
        if name != "G":
            return super().player(recipe, specs, name)
        # Converted networks have no D, and may enlarge what they get.
        return image_to_image.generator(recipe.model, *_channels(recipe.game.input, specs), specs[TARGET].shape[1:])

    @classmethod
    def compose(cls, export: Export, parts: Sequence[nn.Module]) -> nn.Module:
        return Colourised(*parts) if export.inputs[0] == LIGHTNESS else parts[0]

    def pair(self, streams: Mapping[str, Sample]) -> tuple[Tensor, Tensor]:
        """G's input and what it should answer."""
        images = streams[TARGET].data
        if self.source == PAIRED:
            return streams[INPUT].data, images
        return DERIVED[self.source].make(images), chroma(images) if self.source == LIGHTNESS else images

    def answer(self, x: Tensor, batch: Batch) -> Tensor:
        with drawn_from(batch.draws, self.G):
            return self.compiled["G"](x)

    def logits(self, x: Tensor, y: Tensor) -> list[Tensor]:
        """D's logits by scale."""
        return [self.compiled["D"](y)] if self.energy else self.compiled["D"](torch.cat([x, y], 1))

    def discriminator_loss(self, batch: Batch) -> Terms:
        x, y = self.pair(batch.streams)
        with torch.no_grad():
            answer = self.answer(x, batch)
        real, fake = self.logits(x, y), self.logits(x, answer)
        batch.figures.update(real_logit=mean_logit(real), fake_logit=mean_logit(fake))
        terms = _sum(self.loss.discriminator(*pair) for pair in zip(real, fake))
        if self.penalty:
            points = penalties.between(y, answer, batch.draws.uniform("between"))
            squares = squared_gradients(self, torch.cat([x, points], 1), points, of=_of_patches)
            terms["gradient_penalty"] = penalties.one_lipschitz(squares, self.penalty)
        return {name: term / 2 for name, term in terms.items()}

    def generator_loss(self, batch: Batch) -> Terms:
        x, y = self.pair(batch.streams)
        answer = self.answer(x, batch)
        terms = self.terms_of_d(x, y, answer) if self.adversarial or self.matching else {}
        if self.distance is not None:
            terms["pixel"] = self.weight * self.distance(answer, y)
        return terms

    def terms_of_d(self, x: Tensor, y: Tensor, answer: Tensor) -> Terms:
        """G's adversarial term and its feature matching, as far as their weights ask for them."""
        if self.matching:
            of_fake, of_real = (self.D.features(torch.cat([x, z], 1)) for z in (answer, y))
            fake, real = [found[-1] for found in of_fake], [found[-1] for found in of_real]
        else:
            fake = self.logits(x, answer)
            real = self.logits(x, y) if self.loss.needs_reals else [None] * len(fake)
        terms = _sum(self.loss.generator(*pair) for pair in zip(fake, real))
        terms = {name: self.adversarial * term for name, term in terms.items()}
        if self.matching:
            terms["feature_matching"] = self.matching * _matching(of_fake, of_real)
        return terms

    @torch.no_grad()
    def draw(self, networks: Mapping[str, nn.Module], preview: Preview) -> Mapping[str, Tensor]:
        """Inputs, answers and targets."""
        target = preview.samples[TARGET].data
        x = self.pair(preview.samples)[0]
        answer = preview.in_parts(partial(self.fakes, networks))
        return {"input": x.expand_as(target) if x.shape[1] == 1 else x, "answer": answer, "target": target}

    @torch.no_grad()
    def fakes(self, networks: Mapping[str, nn.Module], preview: Preview) -> Tensor:
        return networks["G"](self.pair(preview.samples)[0])


def _channels(source: str, specs: Mapping[str, Spec]) -> tuple[int, int]:
    """Channels of G's input and answer."""
    channels = specs[TARGET].shape[0]
    if source == PAIRED:
        return specs[INPUT].shape[0], channels
    if source == "edges" and channels not in (1, 3):
        raise RecipeError(f"game.input=edges is made from grey or RGB images, and the data has {channels} channels; "
                          "use other data")
    if source in ("grey", LIGHTNESS) and channels != 3:
        found = "are grey" if channels == 1 else f"have {channels} channels"
        raise RecipeError(f"game.input={source} takes the colour out of RGB images, but those of data.path {found}; "
                          "use another set or another game.input")
    return DERIVED[source].channels or channels, 2 if source == LIGHTNESS else channels


def _of_patches(by_scale: list[Tensor]) -> Tensor:
    """The means [n] of each scale's logits, summed."""
    return torch.stack([logits.flatten(1).mean(1) for logits in by_scale]).sum(0)


def _sum(of_scales: Any) -> Terms:
    """Terms summed over the scales."""
    total: Terms = {}
    for terms in of_scales:
        for name, term in terms.items():
            total[name] = total[name] + term if name in total else term
    return total


def _matching(of_fake: list[list[Tensor]], of_real: list[list[Tensor]]) -> Tensor:
    """Mean absolute difference of features, averaged over layers, which Wang et al. (2018, eq. 4) sum, and summed over
    scales (eq. 5)."""
    return torch.stack([torch.stack([l1_loss(fake, real.detach()) for fake, real in zip(fakes[:-1], reals[:-1])]).mean()
                        for fakes, reals in zip(of_fake, of_real)]).sum()
