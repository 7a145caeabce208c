"""Resampling by Triton beside convolutions: on a GPU, or by the interpreter (see test_interpreter.py)."""

import os
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from scalegan.kernels import fir
from scalegan.models.layers import resample

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not INTERPRETED and not torch.cuda.is_available(),
                                                  reason="there is no CUDA device")]

WORKS = {"blur 2": lambda x: resample.blur(x, 2), "blur 1": lambda x: resample.blur(x, 1, 4.0),
         "downsample": resample.downsample, "upsample": resample.upsample}
works = pytest.mark.parametrize("work", WORKS.values(), ids=WORKS.keys())
TOLERANCE = {torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}
CASES = {"colours": ((1, 3, 16, 6), torch.float32), "wide": ((1, 260, 4, 4), torch.float32),
         "one channel": ((2, 1, 2, 2), torch.float32), "fp16": ((2, 5, 4, 6), torch.float16),
         "bf16": ((2, 5, 4, 6), torch.bfloat16)}


@pytest.fixture(autouse=True)
def by_the_kernel(monkeypatch: pytest.MonkeyPatch) -> list:
    """The interpreter takes the CPU's tensors; nothing may fall back unnoticed. Lists the kernel's calls."""
    calls = []

    def run(name: str, kernel: Callable, reference: Callable, *args: object) -> Tensor:
        calls.append(args[1:])
        return kernel(*args)
    monkeypatch.setattr(resample, "TRITON_ON_GPU", True)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)      # for the convolutions beside it
    monkeypatch.setattr(fir.kernels, "on_gpu", lambda tensor: True)
    monkeypatch.setattr(fir.kernels, "run", run)
    return calls


def draw(shape: tuple, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE, dtype)
    return x.contiguous(memory_format=torch.channels_last)


@works
@pytest.mark.parametrize("shape, dtype", CASES.values(), ids=CASES.keys())
def test_values(shape: tuple, dtype: torch.dtype, work: Callable, by_the_kernel: list,
                monkeypatch: pytest.MonkeyPatch) -> None:
    x = draw(shape, dtype)
    found = work(x)
    assert len(by_the_kernel) == 1 and found.is_contiguous(memory_format=torch.channels_last)
    monkeypatch.setattr(resample, "TRITON_ON_GPU", False)
    tolerance = TOLERANCE[dtype]
    torch.testing.assert_close(found.double(), work(x.double()), rtol=tolerance, atol=tolerance)


@works
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_gradients_of_a_penalty(work: Callable, dtype: torch.dtype, by_the_kernel: list,
                                monkeypatch: pytest.MonkeyPatch) -> None:
    """Of |d y / d x|^2, so second derivatives, and a third, by x and by a weight."""
    def gradients() -> list[Tensor]:
        x, weight = draw((1, 4, 4, 6), dtype).requires_grad_(), draw((1, 4, 1, 1), dtype, 1).requires_grad_()
        slope, = torch.autograd.grad((work(x * weight).float() ** 3).sum(), x, create_graph=True)
        curve, = torch.autograd.grad(slope.float().square().sum(), weight, create_graph=True)
        return [slope.detach(), *torch.autograd.grad(curve.float().square().sum(), (x, weight))]
    found = gradients()
    assert len(by_the_kernel) >= 4
    monkeypatch.setattr(resample, "TRITON_ON_GPU", False)
    for one, two in zip(found, gradients(), strict=True):
        assert (one.double() - two.double()).norm() <= 6 * TOLERANCE[dtype] * two.double().norm()


def test_each_is_the_others_adjoint() -> None:
    """<work(x), y> = <x, adjoint(y)>."""
    for work in WORKS.values():
        x = draw((1, 4, 4, 4)).requires_grad_()
        out = work(x)
        y = draw(tuple(out.shape), seed=1)
        back, = torch.autograd.grad(out, x, y)
        assert (out.detach().double() * y).sum().item() == pytest.approx((x.detach().double() * back).sum().item(),
                                                                         rel=1e-5)


@pytest.mark.parametrize("up, down, padding", [(1, 1, 1), (1, 1, 2), (1, 2, 1), (2, 1, 1)])
def test_the_fallback_is_the_kernel(up: int, down: int, padding: int) -> None:
    x = draw((1, 3, 4, 6))
    found, expected = (work(x, up, down, padding, 4.0) for work in (fir._in_one_kernel, fir._plainly))
    torch.testing.assert_close(found, expected)
    assert found.stride() == expected.stride()
    if not INTERPRETED or up == 2:
        torch.library.opcheck(torch.ops.scalegan.fir.default, (x, up, down, padding, 4.0))


def test_other_memory_is_left_to_convolutions(by_the_kernel: list) -> None:
    resample.blur(draw((2, 8, 6, 6)).contiguous(), 1)
    resample.upsample(draw((2, 8, 6, 6)).double())
    assert not by_the_kernel
