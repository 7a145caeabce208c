"""StyleGAN2's penalties on a GPU, whose convolutions are ours: torch's second derivatives, without its slow kernels."""

from collections.abc import Callable

import pytest
import torch
from small_games import networks
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from scalegan import kernels

LABELS = torch.arange(8) % 3


class Kernels(TorchDispatchMode):
    """The largest side of any convolution's kernel."""

    largest = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten.convolution.default:
            self.largest = max(self.largest, *args[1].shape[2:])
        return function(*args, **(kwargs or {}))


def draw(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def gradients_of_r1() -> list[Tensor | None]:
    discriminator = networks("stylegan2")[1].double()
    x = draw(8, 3, 32, 32).requires_grad_()
    slope, = torch.autograd.grad(discriminator(x, LABELS).sum(), x, create_graph=True)
    return list(torch.autograd.grad(slope.square().sum(), list(discriminator.parameters()), allow_unused=True))


def gradients_of_path_length() -> list[Tensor | None]:
    generator = networks("stylegan2")[0].double()
    ws = generator.mapping(draw(8, 16), LABELS).detach().requires_grad_()
    images = generator.synthesis(ws, "const")
    slope, = torch.autograd.grad((images * draw(*images.shape)).sum(), ws, create_graph=True)
    parameters = list(generator.synthesis.parameters())
    return list(torch.autograd.grad(slope.square().sum(), parameters, allow_unused=True))


@pytest.mark.parametrize("gradients", [gradients_of_r1, gradients_of_path_length], ids=["R1", "path length"])
def test_a_gpus_penalties_have_torchs_gradients_and_no_kernel_as_large_as_an_image(
        gradients: Callable[[], list[Tensor | None]], monkeypatch: pytest.MonkeyPatch) -> None:
    with Kernels() as plain:
        expected = gradients()
    monkeypatch.setattr(kernels, "on_gpu", lambda tensor: True)
    monkeypatch.setattr(kernels, "run", lambda name, kernel, reference, *args: reference(*args))
    with Kernels() as ours:
        found = gradients()
    assert plain.largest >= 32 and ours.largest <= 4
    for one, other in zip(found, expected, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9 * max(1.0, other.abs().max().item()))
