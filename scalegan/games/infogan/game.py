"""InfoGAN (Chen et al., 2016): G and Q make the codes readable from the image; D never sees the codes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalegan.augment import Augment
from scalegan.augment.choice import augment_of
from scalegan.data.spec import Spec
from scalegan.games.base import Batch, Export, Game, Phase, Preview
from scalegan.games.infogan.codes import Codes, Reader
from scalegan.losses import LOSSES, Terms
from scalegan.models import families

if TYPE_CHECKING:
    from scalegan.config import Recipe

_SWEEP = 2.0        # the paper varies continuous codes from -2 to 2, beyond the training range


class InfoGAN(Game):
    """min_{G, Q} max_D V(D, G) - lambda L_I(G, Q), L_I = E log Q(c | G(z, c)) + H(c)   (eq. 6).

    Q is a separate head on D's last features. By default, only D's phase trains these, so that it is the phase of the
    plain game. The phase of G reuses the latents, codes and batch of D's update before it, as the published code does.

    Args:
        generator: noise and codes to images, with a `Codes` as its latent.
        discriminator: returns its features from `encode`.
        reader: Q's head.
        codes: draws the latents.
        weights: lambda for categorical and for continuous codes.
        augment: applied to images before D and Q see them.
        learns_with: the player with which Q moves, "G" or "D"; with D, the features learn from L_I as well.
    """

    exports = {"G": Export(("G",), ("z",)), "Q": Export(("D", "Q"), ("image",), "vector", averaged=False)}

    def __init__(self, generator: nn.Module, discriminator: nn.Module, reader: Reader, codes: Codes,
                 weights: tuple[float, float] = (1.0, 0.1), augment: Augment | None = None,
                 learns_with: str = "G") -> None:
        super().__init__()
        self.G, self.D, self.Q, self.codes = generator, discriminator, reader, codes
        self.weights, self.augment, self.loss = weights, augment or Augment(), LOSSES["non_saturating"]
        self.players = {"G": self.G, "D": self.D, "Q": self.Q}
        self.compiled = dict(self.players)
        self.learns_with = learns_with
        movers = {"G": (("D",), ("G", "Q")), "D": (("D", "Q"), ("G",))}[learns_with]
        self.phases = [Phase("D", movers[0], self.discriminator_loss),
                       Phase("".join(movers[1]), movers[1], self.information_loss, fresh_batch=False, draws="D")]

    @classmethod
    def make(cls, recipe: "Recipe", specs: Mapping[str, Spec]) -> "InfoGAN":
        settings, spec = recipe.game, next(iter(specs.values()))
        codes = Codes(recipe.model.latent_dim, settings.categories, settings.continuous, recipe.model.latent)
        generator, discriminator = families.build(replace(recipe.model, latent_dim=codes.latent_dim), spec)
        generator.latent = codes
        reader = Reader(discriminator.encoding_size, settings.hidden, settings.categories, settings.continuous,
                        getattr(recipe.model, "norm_group", None), settings.fixed_deviation)
        return cls(generator, discriminator, reader, codes, (settings.weight, settings.continuous_weight),
                   augment_of(recipe), settings.learns_with)

    @classmethod
    def compose(cls, export: Export, parts: Sequence[nn.Module]) -> nn.Module:
        return CodeReader(*parts) if len(parts) == 2 else parts[0]

    def discriminator_loss(self, batch: Batch) -> Terms:
        """D's loss of the plain game, minus L_I if Q learns with D."""
        with torch.no_grad():
            z = self.codes(batch.draws)
            fakes = self.compiled["G"](z)
        real, features = self.D(self.augmented(batch.reals, batch, "real")), self.encoded(fakes, batch)
        fake = self.D.classify(features)
        batch.figures.update(real_logit=real.mean(), fake_logit=fake.mean(), **self.augment.watch(real, batch.images))
        terms = self.loss.discriminator(real, fake)
        return terms | self.surprise(features, z, batch) if self.learns_with == "D" else terms

    def information_loss(self, batch: Batch) -> Terms:
        """G's adversarial loss minus L_I."""
        z = self.codes(batch.draws)
        features = self.encoded(self.compiled["G"](z), batch)
        return self.loss.generator(self.D.classify(features)) | self.surprise(features, z, batch)

    def encoded(self, fakes: Tensor, batch: Batch) -> Tensor:
        return self.D.encode(self.augmented(fakes, batch, "fake"))

    def surprise(self, features: Tensor, z: Tensor, batch: Batch) -> Terms:
        """-L_I for fakes with these features, times lambda. The constant H(c) enters only the figure `information`."""
        surprise = self.Q.surprise(self.Q(features), *self.codes.of(z))
        batch.figures["information"] = self.codes.entropy - sum(surprise.values())
        weights = {"categories": self.weights[0], "continuous": self.weights[1]}
        return {name: weights[name] * value for name, value in surprise.items()}

    @torch.no_grad()
    def draw(self, networks: Mapping[str, nn.Module], preview: Preview) -> Mapping[str, Tensor]:
        """One value of the first categorical code per column, one latent per row; each of the last rows sweeps a
        continuous code from -2 to 2."""
        generator, columns = networks["G"], preview.columns
        z = self.codes(preview.draws)

        def made(z: Tensor) -> Tensor:
            return torch.cat([generator(part) for part in z.split(preview.at_once or len(z))])

        if z.shape[0] % columns or len(preview.draws) < columns:
            return {"samples": made(z)}
        rows = z.unflatten(0, (-1, columns))[:, :1].repeat(1, columns, 1)       # [rows, columns, latent_dim]
        swept = min(self.codes.continuous, len(rows) // 2)
        rows[:, :, self.codes.noise_dim + sum(self.codes.categories):] = 0
        if self.codes.categories:
            values = torch.arange(columns, device=z.device) % self.codes.categories[0]
            first = slice(self.codes.noise_dim, self.codes.noise_dim + self.codes.categories[0])
            rows[: len(rows) - swept, :, first] = F.one_hot(values, self.codes.categories[0]).to(z.dtype)
        for code in range(swept):
            place = self.codes.noise_dim + sum(self.codes.categories) + code
            rows[len(rows) - swept + code, :, place] = torch.linspace(-_SWEEP, _SWEEP, columns, device=z.device)
        return {"codes": made(rows.flatten(0, 1))}


class CodeReader(nn.Module):
    """Images [N, C, H, W] to Q's output [N, ...]: logits of every category, then means and log standard deviations of
    the continuous codes."""

    def __init__(self, discriminator: nn.Module, reader: Reader) -> None:
        super().__init__()
        self.D, self.Q = discriminator, reader

    def forward(self, images: Tensor) -> Tensor:
        return self.Q(self.D.encode(images))
