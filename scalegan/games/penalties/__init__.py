"""Penalties on top of a player's loss, as terms in every update or as a lazy phase of their own.

One file each. The formulas are pure functions in `scalegan.penalties`; these files say what they are applied to.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from scalegan.games.base import Batch, Game, Phase
from scalegan.games.compiled import differentiable, itself, with_gradient
from scalegan.losses import Terms
from scalegan.penalties import inner_gradients, squared_gradient_norm, squared_gradient_norms, squared_norm


@dataclass(frozen=True)
class Side:
    """Reals or fakes in D's phase.

    Args:
        data: before augmentation, [n, ...]; requires grad if a penalty differentiates with respect to it.
        augmented: as D sees them.
        condition: their conditions, or None.
        logits: D's logits, [n]; None in a phase without D's main pass.
        gradient: INNER_SCALE times that of the logits' sum with respect to `augmented`, if D gives it; see
            `with_gradient`.
    """

    data: Tensor
    augmented: Tensor
    condition: Tensor | None
    logits: Tensor | None
    gradient: Tensor | None = None


@dataclass(frozen=True)
class DiscriminatorPass:
    """D's forward pass over reals and fakes, which its penalties share.

    Args:
        discriminator: D as the phase calls it: itself, or compiled.
        batch: the micro-batch.
        real, fake: the two sides.
        differentiated: the sides, "real" or "fake", whose gradients penalties need.
    """

    discriminator: Callable[[Tensor, Tensor | None], Tensor]
    batch: Batch
    real: Side
    fake: Side
    differentiated: Sequence[str] = ()

    @cached_property
    def squared_gradient_norms(self) -> dict[str, Tensor]:
        """|d logits / d data|^2 of each sample [n], by side; one backward pass serves all sides."""
        sides = [getattr(self, name) for name in self.differentiated]
        if all(side.gradient is not None for side in sides):
            return {name: _squared_before(side.data, side.augmented, side.gradient)
                    for name, side in zip(self.differentiated, sides)}
        squares = squared_gradient_norms(torch.cat([side.logits for side in sides]), [side.data for side in sides])
        return dict(zip(self.differentiated, squares))


def squared_gradients(game: Game, seen: Tensor, data: Tensor, *inputs: Tensor | None,
                      of: Callable[[Any], Tensor] = itself) -> Tensor:
    """|d logits / d data|^2 of each sample [n], in a pass of D for them alone.

    Args:
        seen: what D sees, made from data [n, ...], which requires grad; `inputs` are D's others.
        of: logits [n] from D's output; see `with_gradient`.
    """
    discriminator = game.compiled["D"]
    if differentiable(discriminator):
        return _squared_before(data, seen, with_gradient(discriminator, seen.detach(), *inputs, of=of)[1])
    return squared_gradient_norm(of(game.players["D"](seen, *inputs)), data)


def _squared_before(data: Tensor, seen: Tensor, gradient: Tensor) -> Tensor:
    """|d logits / d data|^2 [n] from the gradient with respect to what D sees: by the chain rule, eagerly."""
    return squared_norm(gradient if seen is data else inner_gradients(seen, (data,), gradient)[0])


class Penalty(nn.Module):
    """Base class of penalties; each overrides only what it needs. Buffers are saved with the run.

    Attributes:
        needs_whole: players whose networks it differentiates twice, or uses otherwise than through `forward`.
        pairs: whether it combines a real and a fake sample: D's fakes then take the reals' conditions.
        lazy_player: the player whose phase a lazy penalty is; empty if its terms enter every update.
        every: updates of that player's main phase per update of the penalty.
        differentiates: the sides, "real" or "fake", by which it differentiates D's logits in D's main phase.
        fixed: frozen networks that it uses; see `Game`.
    """

    needs_whole: frozenset[str] = frozenset({"G", "D"})
    pairs: bool = False
    lazy_player: str = ""
    every: int = 1
    differentiates: tuple[str, ...] = ()
    fixed: Mapping[str, nn.Module] = MappingProxyType({})

    def discriminator_terms(self, game: Game, d_pass: DiscriminatorPass) -> Terms:
        """Terms added to every update of D."""
        return {}

    def generator_terms(self, game: Game, batch: Batch, fakes: Tensor, condition: Tensor | None) -> Terms:
        """Terms added to every update of G; fakes [n, ...] are as D sees them."""
        return {}

    def lazy_terms(self, game: Game, batch: Batch) -> Terms:
        """The lazy penalty's own terms, multiplied by `every` (Karras et al., 2020, appendix B)."""
        return {}

    def after(self, game: Game, phase: Phase, figures: Terms) -> None:
        """Called after each update, with its terms as means over the global batch, equal on all ranks."""
