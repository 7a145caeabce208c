"""The f-divergences of f-GAN (Nowozin, Cseke & Tomioka, 2016), with the activations and conjugates of their table 2."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

_LN2 = 0.6931471805599453
_STEEP = 40.0


@dataclass(frozen=True)
class Divergence:
    """D_f(P || Q) = E_Q f(p / q), and its lower bound E_P g_f(v) - E_Q f*(g_f(v)) for any logits v.

    Args:
        f: the convex function that generates it, of the ratio u = p / q.
        activation: g_f, from logits onto the domain of f*; increases with the belief that a sample is real.
        conjugate: f*(g_f(v)) of logits, composed by hand because applying both in turn would lose digits.
        optimum: the logit at which the bound is tight, as a function of u: g_f(optimum) = f'(u).
    """

    f: Callable[[Tensor], Tensor]
    activation: Callable[[Tensor], Tensor]
    conjugate: Callable[[Tensor], Tensor]
    optimum: Callable[[Tensor], Tensor]


def _exp(v: Tensor) -> Tensor:
    """exp(v), continued by its tangent beyond v = 40, so that an outlying logit does not overflow."""
    below = v.clamp(max=_STEEP)
    return below.exp() * (1 + v - below)


DIVERGENCES = {
    # f*(t) = exp(t - 1), g = v.
    "kl": Divergence(lambda u: u * u.log(), lambda v: v, lambda v: _exp(v - 1), lambda u: 1 + u.log()),
    # f*(t) = -1 - ln(-t), g = -exp(-v).
    "reverse_kl": Divergence(lambda u: -u.log(), lambda v: -_exp(-v), lambda v: v - 1, torch.log),
    # f*(t) = -ln(2 - exp t), g = ln 2 + ln s(v); twice the Jensen-Shannon divergence.
    "js": Divergence(lambda u: u * u.log() - (1 + u) * ((1 + u) / 2).log(), lambda v: _LN2 - softplus(-v),
                     lambda v: softplus(v) - _LN2, torch.log),
    # f*(t) = t / (1 - t), g = 1 - exp(-v).
    "hellinger": Divergence(lambda u: (u.sqrt() - 1).square(), lambda v: 1 - _exp(-v), lambda v: _exp(v) - 1,
                            lambda u: u.log() / 2),
    # f*(t) = t^2 / 4 + t, g = v.
    "pearson": Divergence(lambda u: (u - 1).square(), lambda v: v, lambda v: v.square() / 4 + v, lambda u: 2 * (u - 1)),
}
