"""Penalties: what a game adds to a player's loss, as terms of every update or as a lazy phase of its own.

One file each. The formulas are pure functions of `scalegan.penalties`; here stands what they are applied to.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from scalegan.games.base import Batch, Game, Phase
from scalegan.losses import Terms
from scalegan.penalties import squared_gradient_norms


@dataclass(frozen=True)
class Side:
    """Reals or fakes in D's phase.

    Args:
        data: as they are, [n, ...]; requires a gradient where a penalty differentiates by it.
        augmented: as D is shown them.
        condition: theirs, or None.
        logits: what D says of them, [n].
    """

    data: Tensor
    augmented: Tensor
    condition: Tensor | None
    logits: Tensor


@dataclass(frozen=True)
class DiscriminatorPass:
    """D's forward pass over reals and fakes, which its penalties share.

    Args:
        discriminator: D as the phase calls it: itself, or compiled where nothing is differentiated twice.
        batch: the micro-batch.
        real, fake: the two sides.
        differentiated: of "real" and "fake", the sides whose gradients penalties ask for.
    """

    discriminator: Callable[[Tensor, Tensor | None], Tensor]
    batch: Batch
    real: Side
    fake: Side
    differentiated: Sequence[str] = ()

    @cached_property
    def squared_gradient_norms(self) -> dict[str, Tensor]:
        """|d logits / d data|^2 of each sample [n], by side: of all that are asked for in one pass."""
        sides = [getattr(self, name) for name in self.differentiated]
        squares = squared_gradient_norms(torch.cat([side.logits for side in sides]), [side.data for side in sides])
        return dict(zip(self.differentiated, squares))


class Penalty(nn.Module):
    """What a penalty can add; each overrides only what it needs. Its buffers are saved with the run.

    Attributes:
        lazy_player: of a lazy one, whose phase it is; empty for terms of every update.
        every: updates of that player's main phase for one of the penalty's.
        differentiates: of "real" and "fake", the sides by which D's logits are differentiated in D's main phase.
    """

    lazy_player: str = ""
    every: int = 1
    differentiates: tuple[str, ...] = ()

    def discriminator_terms(self, game: Game, d_pass: DiscriminatorPass) -> Terms:
        """Terms of every update of D."""
        return {}

    def generator_terms(self, game: Game, batch: Batch, fakes: Tensor, condition: Tensor | None) -> Terms:
        """Terms of every update of G; fakes [n, ...] are as D is shown them."""
        return {}

    def lazy_terms(self, game: Game, batch: Batch) -> Terms:
        """The lazy penalty's own terms, multiplied by `every` (Karras et al., 2020, appendix B)."""
        return {}

    def after(self, game: Game, phase: Phase, figures: Terms) -> None:
        """Told of an update, with its terms as means over the global batch: the same on all ranks."""
