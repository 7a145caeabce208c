"""Bilinear reading and its adjoint by Triton beside PyTorch's: on a GPU, or by the interpreter (see
test_interpreter.py)."""

import os

import pytest
import torch
from torch import Tensor

from scalegan.augment import blit, diffaugment
from scalegan.augment.geometry import warp
from scalegan.kernels import bilinear

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not INTERPRETED and not torch.cuda.is_available(),
                                                  reason="there is no CUDA device")]

SHAPES = {"square": ((2, 3, 9, 9), (9, 9)), "wide": ((3, 1, 4, 7), (20, 33)), "two pixels": ((1, 2, 2, 2), (1, 5))}
shapes = pytest.mark.parametrize("shape, size", SHAPES.values(), ids=SHAPES.keys())


@pytest.fixture(autouse=True)
def by_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter takes the CPU's tensors; nothing may fall back unnoticed."""
    monkeypatch.setattr(bilinear.kernels, "on_gpu", lambda tensor: True)
    monkeypatch.setattr(bilinear.kernels, "run", lambda name, kernel, reference, *args: kernel(*args))


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


def places_in(shape: tuple, size: tuple) -> Tensor:
    """Between pixels, on them, and at all four borders."""
    n, _, height, width = shape
    found = torch.rand(n, 2, *size, generator=torch.Generator().manual_seed(1))
    found = found * torch.tensor([width - 1, height - 1])[:, None, None]
    found.flatten(2)[:, :, ::3] = found.flatten(2)[:, :, ::3].round()
    found.flatten(2)[:, :, -1] = torch.tensor([width - 1, height - 1])
    return found.to(DEVICE)


@shapes
def test_both_are_the_references(shape: tuple, size: tuple) -> None:
    images, places = draw(*shape), places_in(shape, size)
    exact = bilinear._read_plainly(images.double(), places)
    torch.testing.assert_close(bilinear._read_in_one_kernel(images, places).double(), exact, rtol=2e-6, atol=2e-7)
    values = draw(*shape[:2], *size)
    exact = bilinear._add_plainly(values.double(), places, *shape[2:])
    found = bilinear._add_in_one_kernel(values, places, *shape[2:])
    torch.testing.assert_close(found.double(), exact, rtol=2e-6, atol=2e-6)


@shapes
def test_order_does_not_matter(shape: tuple, size: tuple) -> None:
    """The same values at the same places, told in another order, give the same bits."""
    places, values = places_in(shape, size), draw(*shape[:2], *size) * draw(*shape[:2], *size, seed=2).exp()
    order = torch.randperm(size[0] * size[1], generator=torch.Generator().manual_seed(3)).to(DEVICE)

    def shuffled(x: Tensor) -> Tensor:
        return x.flatten(2)[:, :, order].view_as(x)
    found = bilinear._add_in_one_kernel(values, places, *shape[2:])
    assert found.equal(bilinear._add_in_one_kernel(shuffled(values), shuffled(places), *shape[2:]))


@pytest.mark.parametrize("size", [1e-38, 1e-20, 1.0, 1e30])
def test_sums_keep_their_precision_at_any_size(size: float) -> None:
    """A thousand values of all magnitudes below the largest in one pixel, to float32's last bits."""
    values = draw(1, 1, 1, 1000) * torch.linspace(-12, 0, 1000, device=DEVICE).exp() * size
    places = torch.ones(1, 2, 1, 1000, device=DEVICE)
    found = bilinear._add_in_one_kernel(values, places, 3, 3)
    assert found[0, 0, 1, 1].item() == pytest.approx(values.double().sum().item(), rel=1e-6)
    assert found.count_nonzero() == 1
    assert not bilinear._add_in_one_kernel(values * 0, places, 3, 3).any()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_no_number_does_not_get_lost(bad: float) -> None:
    values = torch.tensor([[[[1.0, bad]]]], device=DEVICE)
    assert not bilinear._add_in_one_kernel(values, torch.ones(1, 2, 1, 2, device=DEVICE), 3, 3).isfinite().any()


def transformations() -> dict:
    matrix = torch.tensor([[[0.9, -0.3], [0.3, 1.2]], [[1.0, 0.0], [0.0, 1.0]]], device=DEVICE)
    shift = torch.tensor([[1.3, -0.7], [0.0, 0.0]], device=DEVICE)
    by = torch.tensor([[2, -2], [0, 2]], device=DEVICE)

    class Fixed:
        def integers(self, name: str, high: int) -> Tensor:
            return torch.tensor([0, high - 1], device=DEVICE)
    return {"warp": lambda x: warp(x, matrix, shift), "shift": lambda x: blit.shift(x, *by),
            "translation": lambda x: diffaugment.translation(x, Fixed())}


@pytest.mark.parametrize("name", ["warp", "shift", "translation"])
def test_gradients_of_a_penalty(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of |d y / d x|^2, so second derivatives, as R1 takes them of augmented images."""
    def gradients() -> list[Tensor]:
        x, weight = draw(2, 3, 16, 16).requires_grad_(), draw(2, 3, 16, 16, seed=1).requires_grad_()
        y = transformations()[name](x)
        slope, = torch.autograd.grad((y.pow(3) * weight).sum(), x, create_graph=True)
        return [y.detach(), *torch.autograd.grad(slope.square().sum() + y.sum(), (x, weight))]
    found = gradients()
    monkeypatch.setattr(bilinear.kernels, "on_gpu", lambda tensor: False)
    for one, two in zip(found, gradients(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4 * two.abs().max().item())
    if name != "warp":
        assert found[0].equal(transformations()[name](draw(2, 3, 16, 16)))


def test_torch_knows_the_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    images, places = draw(2, 3, 5, 6), places_in((2, 3, 5, 6), (4, 7))
    torch.library.opcheck(torch.ops.scalegan.bilinear.default, (images, places))
    torch.library.opcheck(torch.ops.scalegan.bilinear_adjoint.default, (draw(2, 3, 4, 7), places, 5, 6))
