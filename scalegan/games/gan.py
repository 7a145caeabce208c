"""Generator against discriminator, under any loss and penalties (Goodfellow et al., 2014, and since)."""

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import nn

from scalegan.games.base import Batch, Game, Phase, latents
from scalegan.losses import AdversarialLoss, Terms
from scalegan.penalties import r1


class GAN(Game):
    """The two-player game.

    Args:
        generator: (z, labels) -> images; discriminator: (images, labels) -> logits [N].
        loss: one of `scalegan.losses`.
        r1_gamma, r1_every: the R1 penalty; every = 1 makes it a term of D's phase (one forward, one step), more a
            lazy phase of its own, whose loss is multiplied by `every` (Karras et al., 2020, appendix B).
        order: who moves first.
        fresh_batch: phases that take a batch of their own; others share the last.
        updates: updates per iteration, by phase, where not 1.
    """

    def __init__(self, generator: nn.Module, discriminator: nn.Module, loss: AdversarialLoss, r1_gamma: float = 0.0,
                 r1_every: int = 1, order: Sequence[str] = ("D", "G"), fresh_batch: Sequence[str] = ("D",),
                 updates: Mapping[str, int] | None = None) -> None:
        super().__init__()
        self.G, self.D, self.loss = generator, discriminator, loss
        self.players = {"G": self.G, "D": self.D}
        updates = {"G": 1, "D": 1, **(updates or {})}
        lazy = r1_gamma > 0 and r1_every > 1
        self.r1_gamma = 0.0 if lazy else r1_gamma
        moves = {"D": self.judge, "G": self.forge}
        self.phases = []
        for name in order:
            self.phases.append(Phase(name, (name,), moves[name], updates[name], name in fresh_batch))
            if name == "D" and lazy:
                penalty = partial(self.regularise, gamma=r1_gamma * r1_every)
                self.phases.append(Phase("D.r1", ("D",), penalty, 1, False, r1_every, updates["D"]))

    def judge(self, batch: Batch) -> Terms:
        """D tells reals from fakes; each is a batch of its own, as BatchNorm sees them."""
        with torch.no_grad():
            fakes = self.G(latents(self.G, batch.draws), batch.fake_labels)
        reals = batch.reals.detach().requires_grad_(self.r1_gamma > 0)
        real, fake = self.D(reals, batch.labels), self.D(fakes, batch.fake_labels)
        batch.figures.update(real_logit=real.mean(), fake_logit=fake.mean())
        terms = self.loss.discriminator(real, fake)
        if self.r1_gamma > 0:
            terms["r1"] = r1(real, reals, self.r1_gamma)
        return terms

    def forge(self, batch: Batch) -> Terms:
        """G makes fakes that pass for real."""
        fake = self.D(self.G(latents(self.G, batch.draws), batch.fake_labels), batch.fake_labels)
        real = self.D(batch.reals, batch.labels) if self.loss.needs_reals else None
        return self.loss.generator(fake, real)

    def regularise(self, batch: Batch, gamma: float) -> Terms:
        """The lazy R1 penalty alone."""
        reals = batch.reals.detach().requires_grad_(True)
        return {"r1": r1(self.D(reals, batch.labels), reals, gamma)}
