"""Regularisers that combine with any loss and any network."""

import contextlib
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

# The inner gradient is that of logits scaled by a power of two, divided out again in fp32: in fp16, the small gradients
# of single pixels would otherwise be flushed to zero. In other dtypes the scaling is exact.
INNER_SCALE = 2.0**8


def squared_gradient_norm(logits: Tensor, inputs: Tensor) -> Tensor:
    """|d logits / d inputs|^2 of each sample [N], summed over all its elements, differentiable once more.

    `inputs` [N, ...] must require grad, and each of the `logits` [N] must depend on its own sample's inputs alone.
    """
    square, = squared_gradient_norms(logits, (inputs,))
    return square


def squared_gradient_norms(logits: Tensor, inputs: Sequence[Tensor]) -> list[Tensor]:
    """The same for several inputs of one pass, such as reals and fakes, each with logits that depend on it alone."""
    return [squared_norm(gradient) for gradient in inner_gradients(logits.sum() * INNER_SCALE, inputs)]


def squared_norm(gradient: Tensor) -> Tensor:
    """|gradient / INNER_SCALE|^2 of each sample [n], in fp32 at least."""
    wide = gradient if gradient.dtype == torch.float64 else gradient.float()
    return (wide / INNER_SCALE).square().flatten(1).sum(1)


def inner_gradients(value: Tensor, inputs: Sequence[Tensor], along: Tensor | None = None) -> tuple[Tensor, ...]:
    """Gradients that enter a loss, differentiable once more: those of a scalar, or of (value * along).sum().

    They are taken without autocast, like those that optimizers step along: each operation then runs in the dtype of its
    forward pass, whereas autocast would also round the products of layers that a network keeps in full precision.
    """
    kind = value.device.type
    casts = torch.amp.is_autocast_available(kind)
    with torch.autocast(kind, enabled=False) if casts else contextlib.nullcontext():
        return torch.autograd.grad(value, list(inputs), along, create_graph=True)


def r1(logits: Tensor, reals: Tensor, gamma: float | Tensor) -> Tensor:
    """gamma / 2 * E |grad D(x)|^2 at real x (Mescheder et al., 2018, eq. 9). A scalar. At fakes it is R2."""
    return half_weighted(gamma, squared_gradient_norm(logits, reals))


def squared_differences(ahead: Tensor, behind: Tensor, distance: float) -> Tensor:
    """((D(x + sigma e) - D(x)) / sigma)^2 of each sample [n]: |grad D(x)|^2 in expectation over e ~ N(0, I), as sigma
    tends to 0. A difference is taken in fp32 at least.

    Args:
        ahead, behind: logits [n] at x + sigma e, and at x or, antithetically, at x - sigma e.
        distance: sigma, or 2 sigma.
    """
    wide = torch.promote_types(ahead.dtype, torch.float32)
    return ((ahead.to(wide) - behind.to(wide)) / distance).square()


def half_weighted(gamma: float | Tensor, squares: Tensor) -> Tensor:
    """gamma / 2 times the mean of `squares` [n], in their dtype. A scalar."""
    weight = gamma / 2
    return (weight.to(squares.dtype) if isinstance(weight, Tensor) else weight) * squares.mean()


def gradient_penalty(logits: Tensor, between: Tensor, weight: float = 10.0) -> Tensor:
    """lambda E (|grad D(x)| - 1)^2 at x between reals and fakes (Gulrajani et al., 2017, eq. 3). A scalar."""
    return one_lipschitz(squared_gradient_norm(logits, between), weight)


def one_lipschitz(squares: Tensor, weight: float) -> Tensor:
    """lambda E (norm - 1)^2 of squared norms [n]."""
    # The square root has no derivative at zero; clamping makes the penalty's gradient zero there.
    return weight * (squares.clamp(min=1e-20).sqrt() - 1).square().mean()


def between(reals: Tensor, fakes: Tensor, share: Tensor) -> Tensor:
    """Points on the lines from fakes to reals, a fraction `share` [n] of the way: where WGAN-GP takes its gradients."""
    share = share.view(-1, *[1] * (reals.dim() - 1))
    return (fakes + share * (reals - fakes)).detach().requires_grad_(True)


def pull_away(encodings: Tensor, group: int) -> Tensor:
    """Mean squared cosine over the pairs i != j of a group (Zhao et al., 2017, eq. 4). A scalar, averaged over groups.

    Defined per group of `group` consecutive samples: over the whole batch it would not be a mean over samples.
    """
    units = normalize(in_groups(encodings.flatten(1), group), dim=2)  # [n / group, group, features]
    squares = (units @ units.transpose(1, 2)).square()
    count = squares.shape[1]
    return (squares.sum((1, 2)) - squares.diagonal(dim1=1, dim2=2).sum(1)).mean() / (count * (count - 1))


def feature_matching(of_fakes: Tensor, of_reals: Tensor, group: int) -> Tensor:
    """|E f(x) - E f(G(z))|^2 (Salimans et al., 2016, section 3.1), averaged over features. A scalar.

    Defined per group of `group` consecutive samples, whose means it compares.
    """
    difference = in_groups(of_fakes.flatten(1), group).mean(1) - in_groups(of_reals.flatten(1), group).mean(1)
    return difference.square().mean()


def in_groups(values: Tensor, group: int) -> Tensor:
    """[n, features] as [n / group, group, features]; fewer than `group` samples form one group."""
    return values.unflatten(0, (-1, min(group, len(values))))
