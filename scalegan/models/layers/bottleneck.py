"""A residual bottleneck of three convolutions with leaky ReLUs between them, in few passes over memory."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from scalegan.models.layers.convolution import (
    Geometry,
    activated_convolution,
    as_non_leaf,
    conv2d,
    convolution_gradients,
    geometry,
    input_gradient,
    wanted,
    weight_gradient,
)
from scalegan.models.layers.half import cast, half_dtype, without_autocast

Weights = tuple[Tensor, Tensor, Tensor]


def bottleneck(x: Tensor, weights: Weights, biases: tuple[Tensor, Tensor], slope: float, groups: int) -> Tensor:
    """x + conv(act(conv(act(conv(x))))), each convolution keeping the size: [N, C, H, W] -> [N, C, H, W].

    Args:
        weights: [inner, C, 1, 1], [inner, inner / groups, k, k], [C, inner, 1, 1].
        biases: of the first two, [inner] each.
        slope: of the leaky ReLU below zero.
    """
    padding = weights[1].shape[2] // 2
    if torch.compiler.is_compiling():
        y = F.leaky_relu(conv2d(x, weights[0], biases[0]), slope, inplace=True)
        y = F.leaky_relu(conv2d(y, weights[1], biases[1], padding=padding, groups=groups), slope, inplace=True)
        return x + conv2d(y, weights[2])
    half, inner = half_dtype(x), geometry(padding=padding, groups=groups)
    dtype = half if half is not None and x.dtype != torch.float64 else x.dtype
    inputs = [x.to(dtype), *map(as_non_leaf, cast((*weights, *biases), dtype))]
    run = _Bottleneck.apply if torch.is_grad_enabled() else _forward
    return run(*inputs, slope, inner)[0]


class _Bottleneck(Function):
    """Computes inner gradients in place, without copies, unless they will be differentiated again.

    The activations are outputs too, so that second derivatives reach them, and through them everything they depend on.
    """

    @staticmethod
    def forward(ctx, x: Tensor, w1: Tensor, w2: Tensor, w3: Tensor, b1: Tensor, b2: Tensor, slope: float,
                inner: Geometry) -> tuple[Tensor, Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.slope, ctx.inner = slope, inner
        y, one, two = _forward(x, w1, w2, w3, b1, b2, slope, inner)
        ctx.save_for_backward(x, w1, w2, w3, one, two)
        return y, one, two

    @staticmethod
    def backward(ctx, grad: Tensor | None, grad_one: Tensor | None, grad_two: Tensor | None) -> tuple:
        x, w1, w2, w3, one, two = ctx.saved_tensors
        twice = torch.is_grad_enabled()
        of_x = ctx.needs_input_grad[0]
        of_w1, of_w2, of_w3, of_b1, of_b2 = (wanted(ctx, i) for i in range(1, 6))
        backwards, activate, total = (_differentiable, _slope_again, _sum) if twice else \
            (convolution_gradients, _slope_in_place, _sum_in_place)

        at_two, dw3 = None, None
        if grad is not None:
            at_two, dw3, _ = backwards(grad, two, w3, geometry(), [True, of_w3, False])
        at_two = total(at_two, grad_two)
        at_one, dw2, db2 = None, None, None
        if at_two is not None:
            at_one, dw2, db2 = backwards(activate(at_two, two, ctx.slope), one, w2, ctx.inner, [True, of_w2, of_b2])
        at_one = total(at_one, grad_one)
        dx, dw1, db1 = None, None, None
        if at_one is not None:
            dx, dw1, db1 = backwards(activate(at_one, one, ctx.slope), x, w1, geometry(), [of_x, of_w1, of_b1])
        if of_x and grad is not None:
            dx = grad if dx is None else dx + grad if twice else dx.add_(grad)
        return dx, dw1, dw2, dw3, db1, db2, None, None


def _forward(x: Tensor, w1: Tensor, w2: Tensor, w3: Tensor, b1: Tensor, b2: Tensor, slope: float,
             inner: Geometry) -> tuple[Tensor, Tensor, Tensor]:
    with without_autocast(x):
        one = activated_convolution(x, w1, b1, slope, geometry())
        two = activated_convolution(one, w2, b2, slope, inner)
        return torch.ops.aten.convolution(two, w3, None, *geometry()).add_(x), one, two


def _sum(own: Tensor | None, given: Tensor | None) -> Tensor | None:
    return given if own is None else own if given is None else own + given


def _sum_in_place(own: Tensor | None, given: Tensor | None) -> Tensor | None:
    """`given` may be shared, so it is not written to."""
    if own is None:
        return None if given is None else given.clone()
    return own if given is None else own.add_(given)


def _differentiable(grad: Tensor, x: Tensor, w: Tensor, at: Geometry, mask: list[bool]) -> tuple:
    return (input_gradient(grad, w, x, at) if mask[0] else None, weight_gradient(grad, x, w, at) if mask[1] else None,
            grad.sum((0, 2, 3)) if mask[2] else None)


def _slope_in_place(grad: Tensor, activated: Tensor, slope: float) -> Tensor:
    return torch.ops.aten.leaky_relu_backward.grad_input(grad, activated, slope, True, grad_input=grad)


def _slope_again(grad: Tensor, activated: Tensor, slope: float) -> Tensor:
    # The slope is constant in the activation except at zero, so it is not differentiated.
    return torch.ops.aten.leaky_relu_backward(grad, activated.detach(), slope, True)
