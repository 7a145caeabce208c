"""The toy: pre-training, two simultaneous phases, a pool, a frozen network, and a composed export."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalegan.games.base import Batch, Export, Game, Phase
from scalegan.games.pool import Pool
from scalegan.losses import LOSSES, Terms


class Net(nn.Sequential):
    """Layers whose weights come from keyed generators."""

    @torch.no_grad()
    def initialise(self, generator) -> None:
        for name, parameter in self.named_parameters():
            if not parameter.is_meta:
                parameter.normal_(0, 0.2, generator=generator(name))


class Duet(Game):
    exports = {"A_to_B": Export(("A_to_B",), ("image",)),
               "read": Export(("A_to_B", "E"), ("image",), "vector"),
               "raw": Export(("A_to_B",), ("image",), averaged=False)}
    default, target = "A_to_B", "B"

    def __init__(self, channels: int, pool: Pool, warm_up: int, poison: tuple[int, int]) -> None:
        super().__init__()
        self.A_to_B = Net(nn.Conv2d(channels, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, channels, 1), nn.Tanh())
        self.E = Net(nn.Conv2d(channels, 4, 4, 4), nn.Flatten(), nn.Linear(64, 5))
        self.D = Net(nn.Conv2d(channels, 6, 4, 4), nn.ReLU(), nn.Flatten(), nn.Linear(96, 1), nn.Flatten(0))
        self.players = {"A_to_B": self.A_to_B, "E": self.E, "D": self.D}
        self.pool, self.poison, self.loss = pool, poison, LOSSES["non_saturating"]
        eye = nn.Conv2d(channels, 2, 3, bias=False)
        nn.init.constant_(eye.weight, 0.1)
        self.fixed = {"eye": eye}
        self.phases = [Phase("warm", ("A_to_B",), self.warm_loss, between=(0, warm_up)),
                       Phase("fool", ("A_to_B", "E"), self.fool_loss, between=(warm_up, None), step_with="D"),
                       Phase("D", ("D",), self.discriminator_loss, fresh_batch=False, between=(warm_up, None),
                             draws="fool")]

    @classmethod
    def make(cls, recipe, specs) -> "Duet":
        settings, spec = recipe.game, specs["B"]
        return cls(spec.shape[0], Pool(settings.pool, spec.shape, recipe.batch_size), settings.warm_up, settings.poison)

    def warm_loss(self, batch: Batch) -> Terms:
        a = batch.streams["A"].data
        return {"same": F.l1_loss(self.A_to_B(a), a), "seen": F.mse_loss(self.fixed["eye"](self.A_to_B(a)),
                                                                       self.fixed["eye"](a))}

    def fool_loss(self, batch: Batch) -> Terms:
        fakes = self.A_to_B(batch.streams["A"].data + 0.1 * batch.draws.normal("noise", 1, 1, 1))
        return {**self.loss.generator(self.D(fakes)),
                "read": self.E(fakes).square().mean() + F.cross_entropy(self.E(fakes), batch.streams["A"].condition)}

    def discriminator_loss(self, batch: Batch) -> Terms:
        with torch.no_grad():       # the same fakes as in the phase whose draws it reuses
            fakes = self.A_to_B(batch.streams["A"].data + 0.1 * batch.draws.normal("noise", 1, 1, 1))
        shown = self.pool.exchange(batch, fakes)
        other = (batch.condition("B", different=True) != batch.streams["B"].condition).float().mean()
        batch.figures.update(different=other, from_pool=(shown != fakes).flatten(1).any(1).float().mean())
        terms = self.loss.discriminator(self.D(batch.streams["B"].data), self.D(shown))
        first, last = self.poison
        return {name: term * (torch.nan if first < batch.images <= last else 1) for name, term in terms.items()}

    def draw(self, networks, preview) -> dict[str, Tensor]:
        a = preview.samples["A"].data
        return {"A": a, "A to B": networks["A_to_B"](a), "B": preview.samples["B"].data}

    @torch.no_grad()
    def fakes(self, networks, preview) -> Tensor:
        return networks["A_to_B"](preview.samples["A"].data)
