"""StarGAN (Choi et al., 2018): one generator for all attributes, and a critic that also classifies."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from scalegan import penalties
from scalegan.data.spec import Spec
from scalegan.errors import RecipeError
from scalegan.games.acgan.game import label_loss
from scalegan.games.base import Batch, Export, Game, Phase, Preview
from scalegan.games.penalties import squared_gradients
from scalegan.games.stargan.labels import columns, in_turn
from scalegan.losses import LOSSES, Terms
from scalegan.models import stargan

if TYPE_CHECKING:
    from scalegan.config import Recipe

_LOSS = LOSSES["wasserstein"]


class StarGAN(Game):
    """L_D = -L_adv + class_weight * L_cls(real) and L_G = L_adv + class_weight * L_cls(fake) + reconstruction * L_rec
    (eq. 5 and 6), where L_adv is WGAN-GP's (eq. 8) and L_rec = E |x - G(G(x, c), c')|, c' the labels of x (eq. 4).

    As in the published code, the critic is a mean over patches, but the penalty takes the gradient of their sum, and G
    sees the images and the target labels of D's last update. Targets are labels of random records, so that they are
    distributed as the data's; the published code permutes those of the batch.

    Args:
        generator: (images, labels) -> images.
        discriminator: images -> source logits [n, 1, h, w], and those of the labels [n, K].
        chosen: which of the data's attributes the networks know; None for classes.
        updates: D's updates per update of G.
    """

    exports = {"G": Export(("G",), ("image", "condition")), "C": Export(("D",), ("image",), "logits", averaged=False)}

    def __init__(self, generator: nn.Module, discriminator: nn.Module, chosen: Sequence[int] | None = None,
                 reconstruction: float = 10.0, class_weight: float = 1.0, gradient_penalty: float = 10.0,
                 updates: int = 5) -> None:
        super().__init__()
        self.G, self.D, self.chosen = generator, discriminator, chosen
        self.reconstruction, self.class_weight, self.penalty = reconstruction, class_weight, gradient_penalty
        self.players = {"G": self.G, "D": self.D}
        self.compiled = dict(self.players)
        self.phases = [Phase("D", ("D",), self.discriminator_loss, updates),
                       Phase("G", ("G",), self.generator_loss, fresh_batch=False, draws="D")]

    @classmethod
    def make(cls, recipe: "Recipe", specs: Mapping[str, Spec]) -> "StarGAN":
        game, model, spec = recipe.game, recipe.model, next(iter(specs.values()))
        chosen, generator = _chosen(recipe, spec), cls.player(recipe, specs, "G")
        channels, *sides = spec.shape
        try:
            discriminator = stargan.Discriminator(sides, channels, generator.labels, model.d_width, model.d_layers)
        except ValueError as error:
            raise RecipeError(f"model.name={model.name}: {error}") from error
        return cls(generator, discriminator, chosen, game.reconstruction, game.class_weight, game.gradient_penalty,
                   game.critic_updates)

    @classmethod
    def player(cls, recipe: "Recipe", specs: Mapping[str, Spec], name: str) -> nn.Module:
        """Builds a generator without a discriminator: other implementations' files need not have one."""
        if name != "G":
            return super().player(recipe, specs, name)
        model, spec = recipe.model, next(iter(specs.values()))
        labels = len(_chosen(recipe, spec) or range(spec.classes))
        generator = stargan.Generator(spec.shape[0], labels, model.width, model.blocks)
        generator.names = recipe.game.attributes or spec.label_names or tuple(map(str, range(labels)))
        return generator

    @classmethod
    def compose(cls, export: Export, parts: Sequence[nn.Module]) -> nn.Module:
        return stargan.Classifier(*parts) if export.output == "logits" else parts[0]

    def of_interest(self, labels: Tensor) -> Tensor:
        """Classes [n] as they are, or the chosen ones of attributes [n, K]."""
        if self.chosen is None:
            return labels
        return torch.stack([labels[:, column] for column in self.chosen], 1)

    def discriminator_loss(self, batch: Batch) -> Terms:
        labels, targets = self.of_interest(batch.labels), self.of_interest(batch.condition())
        with torch.no_grad():
            fakes = self.compiled["G"](batch.reals, targets)
        (real, real_labels), (fake, _) = self.compiled["D"](batch.reals), self.compiled["D"](fakes)
        batch.figures.update(real_logit=real.mean(), fake_logit=fake.mean())
        terms = _LOSS.discriminator(real, fake) | {"class": self.class_weight * label_loss(real_labels, labels)}
        if self.penalty:
            points = penalties.between(batch.reals, fakes, batch.draws.uniform("between"))
            terms["gradient_penalty"] = penalties.one_lipschitz(squared_gradients(self, points, points, of=_of_patches),
                                                                self.penalty)
        return terms

    def generator_loss(self, batch: Batch) -> Terms:
        labels, targets = self.of_interest(batch.labels), self.of_interest(batch.condition())
        fakes = self.compiled["G"](batch.reals, targets)
        fake, fake_labels = self.compiled["D"](fakes)
        again = self.compiled["G"](fakes, labels)
        return _LOSS.generator(fake, None) | {
            "class": self.class_weight * label_loss(fake_labels, targets),
            "reconstruction": self.reconstruction * l1_loss(again, batch.reals)}

    @torch.no_grad()
    def draw(self, networks: Mapping[str, nn.Module], preview: Preview) -> Mapping[str, Tensor]:
        """Images, and a column for each class or attribute in turn; see `in_turn`."""
        sample = next(iter(preview.samples.values()))
        found = {"input": sample.data}
        for name, targets in in_turn(self.of_interest(sample.condition), self.G.names).items():
            size = preview.at_once or len(targets)
            found[name] = torch.cat([networks["G"](*part) for part in zip(sample.data.split(size),
                                                                         targets.split(size))])
        return found

    @torch.no_grad()
    def fakes(self, networks: Mapping[str, nn.Module], preview: Preview) -> Tensor:
        """Images with the labels of random records."""
        images = next(iter(preview.samples.values())).data
        return networks["G"](images, self.of_interest(preview.condition))


def _of_patches(answer: tuple[Tensor, Tensor]) -> Tensor:
    """The sum [n] of D's source logits."""
    return answer[0].flatten(1).sum(1)


def _chosen(recipe: "Recipe", spec: Spec) -> list[int] | None:
    """The columns of the attributes to learn; None for classes."""
    return columns(spec, recipe.game.attributes) if spec.attributes else None
