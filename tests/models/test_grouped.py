"""Grouped convolutions as matrix products, which GPUs run: cuDNN's reference to the second derivative."""

import pytest
import torch
from torch import Tensor

from scalegan import kernels
from scalegan.models.layers import grouped
from scalegan.models.layers.convolution import conv2d, geometry


def results(last: bool, bias: bool) -> list[Tensor]:
    """y, and the gradients of |dy/dx|^2 + y^2."""
    draw = torch.Generator().manual_seed(0)
    x, w = torch.randn(3, 12, 5, 7, generator=draw), torch.randn(8, 3, 3, 3, generator=draw)
    if last:
        x, w = x.contiguous(memory_format=torch.channels_last), w.contiguous(memory_format=torch.channels_last)
    leaves = [x.requires_grad_(), w.requires_grad_(), *([torch.randn(8, generator=draw).requires_grad_()] * bias)]
    y = conv2d(*leaves[:2], leaves[2] if bias else None, padding=1, groups=4)
    slope, = torch.autograd.grad((y * y).sum(), x, create_graph=True)
    found = torch.autograd.grad(slope.square().sum() + y.square().sum(), leaves)
    with torch.no_grad():
        alone = conv2d(*leaves[:2], leaves[2] if bias else None, padding=1, groups=4)
    return [y.detach(), alone, slope.detach(), *found]


@pytest.mark.parametrize("last", [True, False], ids=["channels_last", "contiguous"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_matrix_products_are_the_convolution_to_the_second_derivative(last: bool, bias: bool,
                                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    expected = results(last, bias)
    monkeypatch.setattr(kernels, "on_gpu", lambda tensor: True)
    for found, wanted in zip(results(last, bias), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4 * wanted.abs().max().item())
    assert not last or found.stride() == wanted.stride()


@pytest.mark.parametrize("dtype, groups, side, stride, suits", [
    (torch.float32, 4, 8, 1, True), (torch.float32, 1, 8, 1, False), (torch.float32, 4, 8, 2, False),
    (torch.bfloat16, 4, 8, 1, False), (torch.float32, 4, 4096, 1, False),
], ids=["R3GAN's low resolutions", "one group", "another stride", "half precision", "too large to unfold"])
def test_what_is_computed_this_way(dtype: torch.dtype, groups: int, side: int, stride: int, suits: bool,
                                   monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.empty(4, 12, side, side, dtype=dtype, device="meta")
    w = torch.empty(8, 12 // groups, 3, 3, device="meta")
    assert grouped.suits(x, w, *geometry(stride, 1, False, groups)) == suits
    monkeypatch.setattr(kernels, "on_gpu", lambda tensor: False)
    assert not grouped.suits(x, w, *geometry(stride, 1, False, groups))
