"""Adaptive discriminator augmentation (Karras et al., 2020, "Training Generative Adversarial Networks with Limited
Data", section 3 and appendix B)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from scalegan.augment import Augment
from scalegan.augment.bands import amplify
from scalegan.augment.blit import blit
from scalegan.augment.colour import colour
from scalegan.augment.corruption import cutout, noise
from scalegan.augment.geometry import geometry
from scalegan.config import Schedule
from scalegan.models.layers.tracked import Tracked
from scalegan.randomness import Draws
from scalegan.schedules import at

# In order of application.
GROUPS = {"blit": blit, "geometry": geometry, "colour": colour, "filter": amplify, "noise": noise, "cutout": cutout}
MAX_P = 0.85  # near 1, augmentations leak into G's images
INTERVAL = 4  # updates of D per step of p


class Ada(Augment):
    """Applies the transformations of every group, each with probability p times the group's share.

    Args:
        shares: share by group, in [0, 1]; groups with 0 are left out.
        probability: module that returns p.
    """

    def __init__(self, shares: Mapping[str, float], probability: "Given | Adaptive") -> None:
        super().__init__()
        self.groups = [(GROUPS[name], share) for name, share in shares.items() if share]
        self.probability = probability

    def forward(self, images: Tensor, draws: Draws, seen: int) -> Tensor:
        p = self.probability(seen)
        if p.device.type == "cpu" and p == 0:  # a shortcut; on a GPU, checking p would synchronise
            return images
        with torch.autocast(images.device.type, enabled=False):
            changed = images if images.dtype == torch.float64 else images.float()
            for group, share in self.groups:
                changed = group(changed, draws, p * share)
            return changed

    def watch(self, real_logits: Tensor, seen: int) -> dict[str, Tensor]:
        sign = real_logits.detach().float().sign().mean()
        self.probability.learn(sign)
        return {"augment_p": torch.zeros_like(sign) + self.probability(seen), "real_sign": sign}


class Given(torch.nn.Module):
    """A fixed or scheduled p."""

    def __init__(self, p: float | Schedule) -> None:
        super().__init__()
        self.p = p

    def forward(self, seen: int) -> Tensor:
        p = at(self.p, seen)
        return p.float().clamp(max=MAX_P) if isinstance(p, Tensor) else torch.tensor(min(p, MAX_P))

    def learn(self, sign: Tensor) -> None:
        """Does nothing: p does not depend on D."""


class Adaptive(Tracked):
    """p rises while D is too sure of the reals, and falls otherwise.

    Overfitting is measured by r_t = E[sign(D(x))] over augmented reals of the last four updates, on all ranks.

    Args:
        start: initial p.
        target: target for r_t.
        step: change of p per update.
    """

    def __init__(self, start: float, target: float, step: float) -> None:
        super().__init__()
        self.target, self.step = target, step
        self.statistics = {"sign": ()}
        self.register_buffer("p", torch.tensor(float(start)))
        self.register_buffer("signs", torch.zeros(()))    # sum since p last changed
        self.register_buffer("updates", torch.zeros(()))

    def forward(self, seen: int) -> Tensor:
        return self.p

    def learn(self, sign: Tensor) -> None:
        self.observe(sign=sign)

    def advance(self, sign: Tensor) -> None:
        signs, updates = self.signs + sign.to(self.signs), self.updates + 1
        due = updates >= INTERVAL
        move = (signs / updates - self.target).sign() * INTERVAL * self.step
        self.p.copy_(torch.where(due, self.p + move, self.p).clamp(0, MAX_P))
        self.signs.copy_(torch.where(due, 0, signs))
        self.updates.copy_(torch.where(due, 0, updates))
