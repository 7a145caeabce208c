"""The bottleneck against the plain composition of its parts, to every order, and what it computes for a penalty."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from scalegan.models.layers.bottleneck import bottleneck
from scalegan.models.layers.convolution import conv2d

SLOPE, GROUPS = 0.2, 2
NAMES = ("x", "w1", "w2", "w3", "b1", "b2")


def inputs(needed: tuple[str, ...] = NAMES, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(3)
    shapes = ((2, 3, 5, 5), (4, 3, 1, 1), (4, 2, 3, 3), (3, 4, 1, 1), (4,), (4,))
    return [torch.randn(shape, generator=draw, dtype=torch.float64).to(dtype).requires_grad_(name in needed)
            for name, shape in zip(NAMES, shapes)]


def fused(x, w1, w2, w3, b1, b2):
    return bottleneck(x, (w1, w2, w3), (b1, b2), SLOPE, GROUPS)


def plain(x, w1, w2, w3, b1, b2):
    y = F.leaky_relu(F.conv2d(x, w1, b1), SLOPE)
    y = F.leaky_relu(F.conv2d(y, w2, b2, padding=1, groups=GROUPS), SLOPE)
    return x + F.conv2d(y, w3)


@pytest.mark.parametrize("needed", [NAMES, ("x",), NAMES[1:], ("x", "w2"), ("b1",), ("w3",)], ids="+".join)
def test_values_and_gradients_are_the_compositions(needed: tuple[str, ...]) -> None:
    found, expected = (function(*inputs(needed)) for function in (fused, plain))
    assert torch.allclose(found, expected, rtol=1e-12)
    ours, theirs = inputs(needed), inputs(needed)
    fused(*ours).square().sum().backward()
    plain(*theirs).square().sum().backward()
    for name, one, other in zip(NAMES, ours, theirs):
        assert (one.grad is None) == (name not in needed)
        assert one.grad is None or torch.allclose(one.grad, other.grad, rtol=1e-10), name


@pytest.mark.parametrize("with_loss", [True, False], ids=["beside a loss", "alone"])
def test_a_gradient_penalty_is_the_compositions(with_loss: bool) -> None:
    gradients = []
    for function in (fused, plain):
        values = inputs()
        y = function(function(*values).tanh(), *values[1:]).tanh()    # two in a row: gradients arrive from both sides
        slope, = torch.autograd.grad(y.sum(), values[0], create_graph=True)
        (slope.square().sum() + (y.square().sum() if with_loss else 0)).backward()
        gradients.append([value.grad for value in values])
    for name, one, other in zip(NAMES, *gradients):
        assert torch.allclose(one, other, rtol=1e-9, atol=1e-12), name


def test_derivatives_of_the_first_two_orders_are_numerically_right() -> None:
    values = inputs()
    assert torch.autograd.gradcheck(fused, values)
    assert torch.autograd.gradgradcheck(fused, values)


def test_a_gradient_that_somebody_else_holds_is_not_written_to() -> None:
    values = inputs()
    y = fused(*values)
    given = torch.ones_like(y)
    y.backward(given)
    assert torch.equal(given, torch.ones_like(y))


class _WeightGradients(TorchDispatchMode):
    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten.convolution_backward.default:
            self.count += args[-1][1]
        self.count += function is torch.ops.aten.mm.default             # which 1x1 kernels' gradients may be
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("network", [fused, lambda x, w1, *_: conv2d(conv2d(x, w1), w1.transpose(0, 1))],
                         ids=["bottleneck", "convolutions"])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_the_gradient_of_images_takes_none_of_weights_along(network, precision: torch.dtype) -> None:
    values = inputs(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision is torch.bfloat16):
        y = network(*values)
    with _WeightGradients() as taken:
        torch.autograd.grad(y.float().sum(), values[0], create_graph=True)
        assert taken.count == 0
        torch.autograd.grad(y.float().square().sum(), values[1], create_graph=True)
        assert taken.count > 0
