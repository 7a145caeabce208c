"""Representation alignment (Hyun et al., 2025): D predicts what a frozen network sees in real images."""

import torch
import torch.nn.functional as F
from torch import nn

from scalegan.games.base import Game
from scalegan.games.penalties import DiscriminatorPass, Penalty
from scalegan.losses import Terms


class Alignment(Penalty):
    """Adds weight * (1 - cosine) between features that D predicts and the frozen network's, of the whole image and, as
    a mean over D's tokens, of its parts; at reals alone, in a pass of D of its own.

    The frozen network sees the image shifted as D sees it, without changes of colour, holes and noise.

    Args:
        backbone: frozen; see `scalegan.models.backbone`.
    """

    needs_whole = frozenset()

    def __init__(self, backbone: nn.Module, weight: float = 1.0) -> None:
        super().__init__()
        self.fixed, self.weight = {"backbone": backbone}, weight

    def discriminator_terms(self, game: Game, d_pass: DiscriminatorPass) -> Terms:
        batch, seen = d_pass.batch, d_pass.real.augmented.detach()
        with torch.no_grad():
            shifted = game.augment.shifted(batch.reals, batch.draws.of("augment/real"))
            whole, parts = self.fixed["backbone"](shifted)
        token, tokens = d_pass.discriminator(seen, d_pass.real.condition, features=True)
        parts = F.interpolate(parts.float(), game.D.grid, mode="bilinear", align_corners=False).flatten(2)
        cosines = F.cosine_similarity(token, whole.float(), 1), F.cosine_similarity(tokens.transpose(1, 2), parts, 1)
        return {"alignment": self.weight * sum(1 - cosine.mean() for cosine in cosines)}
