"""Bias, leaky ReLU and clamp by Triton beside PyTorch's: on a GPU, or by the interpreter (see test_interpreter.py)."""

import os

import pytest
import torch
from torch import Tensor

from scalegan.kernels import leaky

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not INTERPRETED and not torch.cuda.is_available(),
                                                  reason="there is no CUDA device")]

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
SHAPES = {"images": (2, 5, 7, 9), "as wide as vectors": (3, 16, 8, 8), "one channel": (3, 1, 40, 40),
          "one pixel": (4, 8, 1, 1), "features": (6, 33)}
TOLERANCE = {torch.float32: 1e-6, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}


@pytest.fixture(autouse=True)
def by_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter takes the CPU's tensors; nothing may fall back unnoticed."""
    monkeypatch.setattr(leaky.kernels, "on_gpu", lambda tensor: True)
    monkeypatch.setattr(leaky.kernels, "run", lambda name, kernel, reference, *args: kernel(*args))


def check_equal(found: Tensor, expected: Tensor) -> None:
    """The interpreter cuts what it stores as bf16, where a GPU rounds."""
    if INTERPRETED and found.dtype == torch.bfloat16:
        torch.testing.assert_close(found, expected, rtol=2**-7, atol=0)
    else:
        assert found.equal(expected)


def draw(*shape: int, seed: int, dtype: torch.dtype = torch.float32, last: bool = False) -> Tensor:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE, dtype)
    return x.contiguous(memory_format=torch.channels_last) if last and x.dim() == 4 else x


@pytest.mark.parametrize("clamp", [None, 0.7])
@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels last"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_forward_and_derivative(dtype: torch.dtype, shape: tuple, last: bool, clamp: float | None) -> None:
    bound = float("inf") if clamp is None else leaky._rounded(clamp, dtype)
    for bias in (None, draw(shape[1], seed=1)):
        x = draw(*shape, seed=0, dtype=dtype, last=last)
        y, expected = x.clone(), x.clone()
        leaky._activate_in_one_kernel(y, bias, 1.4, 0.2, bound)
        leaky._activate_plainly(expected, bias, 1.4, 0.2, bound)
        torch.testing.assert_close(y, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
        if bias is None:
            check_equal(y, expected)
    grad = draw(*shape, seed=2, dtype=dtype)                    # contiguous, whatever y is
    found = leaky._differentiate_in_one_kernel(grad, y, 0.2, bound)
    check_equal(found, leaky._differentiate_plainly(grad, y, 0.2, bound))
    assert found.stride() == y.stride()


@pytest.mark.parametrize("clamp", [None, 0.7])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_gradients_of_a_penalty(dtype: torch.dtype, clamp: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of |d y / d x|^2, so second derivatives, by x, by a weight and by the bias, through two layers."""
    def gradients() -> list[Tensor]:
        x = draw(2, 8, 6, 6, seed=0, dtype=dtype, last=True).requires_grad_()
        weight, bias = draw(8, 1, 1, seed=1, dtype=dtype).requires_grad_(), draw(8, seed=2).requires_grad_()
        y = leaky.leaky_relu(leaky.leaky_relu(x * weight, bias, 1.4, clamp=clamp) * weight, bias, 0.5, clamp=clamp)
        slope, = torch.autograd.grad((y * y).sum(), x, create_graph=True)
        return [y.detach(), *torch.autograd.grad(slope.square().sum() + y.sum(), (x, weight, bias))]
    found = gradients()
    monkeypatch.setattr(leaky.kernels, "on_gpu", lambda tensor: False)
    for one, two in zip(found, gradients(), strict=True):
        close = (one - two).norm() <= 4 * TOLERANCE[dtype] * two.norm()
        assert close and one.dtype == two.dtype


def test_memory_that_does_not_lie_densely_is_left_to_pytorch() -> None:
    x = draw(4, 6, 8, seed=0).transpose(1, 2)
    expected = x.clone()
    leaky._activate_plainly(expected, None, 1.0, 0.2, 0.5)
    assert leaky.leaky_relu(x, clamp=0.5).equal(expected)


def test_what_is_no_number_stays_so() -> None:
    x = torch.tensor([[float("nan"), float("inf"), -float("inf")]], device=DEVICE)
    y = leaky.leaky_relu(x, clamp=2.0)
    assert y.nan_to_num(7).tolist() == [[7, 2, -2]]
    grad = leaky._differentiate(torch.full_like(y, float("nan")), torch.ones_like(y), 0.2, 2.0)
    assert grad.isnan().all()


def test_a_value_that_autograd_still_needs_is_not_overwritten_unnoticed() -> None:
    y = draw(4, 6, seed=0).requires_grad_().exp()               # its derivative is itself
    total = y.sum()
    leaky.leaky_relu(y)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        total.backward()
