"""Bias, leaky ReLU and clamp in one: values, derivatives of both orders, and what is kept for them."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from scalegan.kernels import leaky
from scalegan.kernels.leaky import leaky_relu


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


CASES = {
    "alone": ((3, 4), False, 1.0, None),
    "cut": ((3, 4), False, 1.0, 1.5),
    "with bias": ((3, 4), True, 1.4, None),
    "images": ((2, 3, 2, 2), True, 1.4, 0.7),
    "a sequence": ((2, 3, 5), True, 1.0, 0.7),
}


@pytest.mark.parametrize("shape, biased, gain, clamp", CASES.values(), ids=CASES.keys())
def test_values_and_derivatives_of_both_orders(shape: tuple, biased: bool, gain: float, clamp: float | None) -> None:
    x, bias = normal(*shape).requires_grad_(), normal(shape[1], seed=1).requires_grad_()

    def function(x: Tensor, bias: Tensor) -> Tensor:
        return leaky_relu(x * 2, bias if biased else None, gain, clamp=clamp)
    added = x * 2 + bias.view(-1, *[1] * (x.dim() - 2)) * gain if biased else x * 2
    expected = F.leaky_relu(added, 0.2)
    expected = expected if clamp is None else expected.clamp(-clamp, clamp)
    torch.testing.assert_close(function(x, bias), expected)
    assert torch.autograd.gradcheck(function, (x, bias))
    assert torch.autograd.gradgradcheck(function, (x, bias))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_what_was_cut_has_no_gradient(dtype: torch.dtype) -> None:
    """Also where the bound is no number of the type, so that it is rounded, up or down."""
    for clamp in (181.01933598, 256.0, 0.3, 1.001):
        x = torch.tensor([[-9.0, -5.5, -0.5, 0.5, 1.5, 9.0]]).mul(clamp).to(dtype).requires_grad_()
        y = leaky_relu(x * 1, clamp=clamp)
        grad, = torch.autograd.grad(y.sum(), x)
        y = y.detach()
        expected = torch.tensor([[0, 0, 0.2, 1, 0, 0]]).to(dtype)
        assert grad.equal(expected), clamp
        assert y[0, 0] == -y[0, 5] == -leaky._rounded(clamp, dtype)
        assert float(y[0, 5]) == float(torch.tensor(clamp).to(dtype))


def test_its_output_alone_is_kept() -> None:
    x, kept = normal(2, 3, 4, 4).requires_grad_(), []
    fresh = x * 2
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        y = leaky_relu(fresh, normal(3).requires_grad_(), 1.0, 0.2, 1.0)
    assert y is fresh and len(kept) == 1 and kept[0].data_ptr() == y.data_ptr()


def test_without_gradients_it_is_the_same_in_place() -> None:
    x = normal(2, 3, 4, 4)
    y = leaky_relu(x.clone().requires_grad_() * 1, normal(3), 1.4, clamp=0.5).detach()
    with torch.no_grad():
        fresh = x.clone()
        assert leaky_relu(fresh, normal(3), 1.4, clamp=0.5) is fresh and fresh.equal(y)


def test_what_is_no_number_stays_so() -> None:
    x = torch.tensor([[float("nan"), float("inf"), -float("inf")]])
    assert leaky_relu(x.clone(), clamp=2.0).nan_to_num(7).tolist() == [[7, 2, -2]]
    assert leaky_relu(x.clone()).nan_to_num(7, 8, 9).tolist() == [[7, 8, 9]]
