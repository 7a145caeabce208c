"""Generator against discriminator, under any loss and penalties (Goodfellow et al., 2014, and since)."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from scalegan.augment import Augment
from scalegan.config import Schedule
from scalegan.games.base import Batch, Game, Phase
from scalegan.games.consistency import Consistency
from scalegan.games.fakes import plain_fakes
from scalegan.games.gan.tricks import Trick
from scalegan.games.path_length import PathLength
from scalegan.losses import AdversarialLoss, Terms
from scalegan.models.layers.spectral import orthogonal_regularisation
from scalegan.penalties import r1, squared_gradient_norms
from scalegan.schedules import at


class GAN(Game):
    """The two-player game.

    Args:
        generator: (z, labels) -> images; discriminator: (images, labels) -> logits [N].
        loss: one of `scalegan.losses`.
        r1_gamma, r1_every: the R1 penalty; every = 1 makes it a term of D's phase (one forward, one step), more a
            lazy phase of its own, whose loss is multiplied by `every` (Karras et al., 2020, appendix B).
        r2_gamma: the same at fakes, a term of D's phase.
        path_length, path_every: of a style-based G; a lazy phase of its own, on half of each grain.
        orthogonal: weight of orthogonal regularisation, a term of both players' phases.
        consistency: bCR, terms of D's phase.
        augment: what happens to reals and fakes alike before D sees them, in every phase.
        fakes: how fakes are made of the generator and a batch's draws.
        order: who moves first.
        fresh_batch: phases that take a batch of their own; others share the last.
        updates: updates per iteration, by phase, where not 1.
        tricks: by name; see `scalegan.games.gan.tricks`.
        clip: bound that D's weights are cut back to after each of its updates (Arjovsky et al., 2017), or None.
    """

    def __init__(self, generator: nn.Module, discriminator: nn.Module, loss: AdversarialLoss,
                 r1_gamma: float | Schedule = 0.0, r1_every: int = 1, r2_gamma: float | Schedule = 0.0,
                 path_length: PathLength | None = None, path_every: int = 4, orthogonal: float = 0.0,
                 consistency: Consistency | None = None, augment: Augment | None = None,
                 fakes: Callable[[nn.Module, Batch], Tensor] = plain_fakes, order: Sequence[str] = ("D", "G"),
                 fresh_batch: Sequence[str] = ("D",), updates: Mapping[str, int] | None = None,
                 tricks: Mapping[str, Trick] | None = None, clip: float | None = None) -> None:
        super().__init__()
        self.G, self.D, self.loss, self.fakes = generator, discriminator, loss, fakes
        self.players = {"G": self.G, "D": self.D}
        self.quick = dict(self.players)
        self.consistency, self.augment = consistency, augment or Augment()
        self.r1_gamma, self.r1_every, self.r2_gamma = r1_gamma, r1_every, r2_gamma
        self.path_length, self.path_every, self.orthogonal = path_length, path_every, orthogonal
        self.tricks = nn.ModuleDict(tricks or {})
        self.bounds = {"D": clip} if clip else {}
        updates = {"G": 1, "D": 1, **(updates or {})}
        main = {name: Phase(name, (name,), loss, updates[name], name in fresh_batch)
                for name, loss in (("D", self.judge), ("G", self.forge))}
        lazy: dict[str, list[Phase]] = {"G": [], "D": []}
        if r1_gamma and r1_every > 1:
            lazy["D"] = [Phase("D.r1", ("D",), self.regularise, 1, False, r1_every, updates["D"])]
        if path_length is not None:
            lazy["G"] = [Phase("G.path", ("G",), self.straighten, 1, False, path_every, updates["G"])]
        self.phases = [phase for name in order for phase in (main[name], *lazy[name])]

    def judge(self, batch: Batch) -> Terms:
        """D tells reals from fakes; each is a batch of its own, as BatchNorm sees them."""
        with torch.no_grad():
            fakes = self.fakes(self.quick["G"], batch)
        eager = bool(self.r1_gamma) and self.r1_every == 1
        reals = batch.reals.detach().requires_grad_(eager)
        fakes = fakes.detach().requires_grad_(bool(self.r2_gamma))
        judged = self.D if eager or self.r2_gamma else self.quick["D"]
        shown_reals, shown_fakes = self.shown(reals, batch, "real"), self.shown(fakes, batch, "fake")
        if getattr(self.D, "one_by_one", False) and eager == bool(self.r2_gamma):
            real, fake = _together(judged, shown_reals, shown_fakes, batch)
        else:
            real, fake = judged(shown_reals, batch.labels), judged(shown_fakes, batch.fake_labels)
        batch.figures.update(real_logit=real.mean(), fake_logit=fake.mean(), **self.augment.watch(real, batch.images))
        terms = self.loss.discriminator(real, fake)
        penalised = {"r1": (self.r1_gamma, real, reals)} if eager else {}
        if self.r2_gamma:
            penalised["r2"] = self.r2_gamma, fake, fakes
        if penalised:
            gammas, logits, inputs = zip(*penalised.values())
            squares = squared_gradient_norms(torch.cat(logits), inputs)
            terms |= {name: at(gamma, batch.images) / 2 * square.mean()
                      for name, gamma, square in zip(penalised, gammas, squares)}
        if self.consistency:
            terms |= self.consistency(judged, "real", real, shown_reals, batch.labels, batch.draws)
            terms |= self.consistency(judged, "fake", fake, shown_fakes, batch.fake_labels, batch.draws)
        for trick in self.tricks.values():
            terms |= trick.judge(self, batch, shown_reals, shown_fakes)
        return terms | self._orthogonal(self.D)

    def forge(self, batch: Batch) -> Terms:
        """G makes fakes that pass for real."""
        fakes = self.shown(self.fakes(self.quick["G"], batch), batch, "fake")
        judged = self.opponent(batch, fakes)
        fake = judged(fakes, batch.fake_labels)
        real = judged(self.shown(batch.reals, batch, "real"), batch.labels) if self.loss.needs_reals else None
        terms = self.loss.generator(fake, real)
        for trick in self.tricks.values():
            terms |= trick.forge(self, batch, fakes)
        return terms | self._orthogonal(self.G)

    def opponent(self, batch: Batch, fakes: Tensor) -> Callable[[Tensor, Tensor | None], Tensor]:
        """Who judges these fakes in G's phase: D as it is."""
        return self.quick["D"]

    def repeats(self, phase: Phase) -> int:
        return max((trick.repeats(phase) for trick in self.tricks.values()), default=phase.updates)

    def after(self, phase: Phase, figures: Terms) -> None:
        for trick in self.tricks.values():
            trick.after(self, phase, figures)

    def regularise(self, batch: Batch) -> Terms:
        """The lazy R1 penalty alone."""
        reals = batch.reals.detach().requires_grad_(True)
        real = self.D(self.shown(reals, batch, "real"), batch.labels)
        return {"r1": r1(real, reals, at(self.r1_gamma, batch.images) * self.r1_every)}

    def straighten(self, batch: Batch) -> Terms:
        """The lazy path length penalty alone."""
        half = batch[: max(len(batch) // 2, 1)]
        ws = self.fakes.styles(self.G, half)
        images = self.G.synthesis(ws, self.fakes.noise(self.G, half))
        noise = half.draws.normal("path", *images.shape[1:])
        return {"path": self.path_length(images, ws, noise) * self.path_every}

    def shown(self, images: Tensor, batch: Batch, who: str) -> Tensor:
        """Images as D sees them; gradient penalties are of the images before."""
        return self.augment(images, batch.draws.of(f"augment/{who}"), batch.images)

    def _orthogonal(self, player: nn.Module) -> Terms:
        if not self.orthogonal:
            return {}
        weights = [p for name, p in player.named_parameters() if p.dim() > 1 and not name.startswith("shared")]
        return {"orthogonal": orthogonal_regularisation(weights, self.orthogonal)}


def _together(judged: Callable, reals: Tensor, fakes: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Logits of reals and fakes from one pass, for a D whose samples do not see each other: its weights are normalised
    and cast once, and so are their gradients added up."""
    labels = None if batch.labels is None else torch.cat([batch.labels, batch.fake_labels])
    return judged(torch.cat([reals, fakes]), labels).chunk(2)
