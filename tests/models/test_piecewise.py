"""Penalties on R3GAN's discriminator without second derivatives against torch's own, differentiated twice."""

import gc
from weakref import ref

import pytest
import torch
from torch import Tensor

from scalegan.models.layers import piecewise
from scalegan.models.layers.slicing import sliced
from scalegan.models.r3gan import Discriminator
from scalegan.penalties import INNER_SCALE, squared_norm
from scalegan.support.flops import FlopCounter

SMALL = dict(resolution=16, widths=[12, 8, 6], cardinalities=[6, 4, 3], blocks=[1, 2, 1])
LABELS = {"none": None, "classes": torch.tensor([0, 3, 4, 3]),
          "attributes": torch.tensor([[0, 1, 0, 1, 1], [1, 0, 0, 0, 0], [0, 0, 1, 0, 0], [1] * 5])}


def discriminator(num_classes: int = 0, **changes) -> Discriminator:
    torch.manual_seed(0)
    network = Discriminator(**{**SMALL, "num_classes": num_classes, **changes}).double()
    with torch.no_grad():
        for parameter in network.parameters():       # biases, and the last layer of each block, are zero at first
            parameter.normal_(0, parameter[0].numel()**-0.5)
    return network


def images(*shape: int) -> Tensor:
    return torch.randn(shape or (4, 3, 16, 16), generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def once(network: Discriminator, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
    return network.with_gradient(x, labels, scale=INNER_SCALE)


def twice(network: Discriminator, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
    x = x.detach().requires_grad_()
    logits = network(x, labels)
    gradient, = torch.autograd.grad(logits.sum() * INNER_SCALE, x, create_graph=True)
    return logits, gradient


LOSSES = {
    "logits": lambda logits, gradient: logits[:2].sigmoid().sum() - logits[2:].tanh().sum(),
    "r1": lambda logits, gradient: squared_norm(gradient).mean(),
    "both": lambda logits, gradient: logits.diff().exp().mean() + 0.3 * squared_norm(gradient).mean(),
    "one_lipschitz": lambda logits, gradient: (squared_norm(gradient).sqrt() - 1).square().mean() + logits[0],
    "one_side": lambda logits, gradient: logits.diff().exp().mean() + squared_norm(gradient)[:2].mean(),
}


def check(loss: str, x: Tensor, labels: Tensor | None, **changes) -> None:
    ours, theirs = (discriminator(**{"num_classes": 0 if labels is None else 5, **changes}) for _ in range(2))
    found, expected = once(ours, x, labels), twice(theirs, x, labels)
    for one, other in zip(found, expected):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    for pair in (found, expected):
        LOSSES[loss](*pair).backward()
    for (name, one), other in zip(ours.named_parameters(), theirs.parameters()):
        of_one, of_other = (torch.zeros_like(p) if p.grad is None else p.grad for p in (one, other))
        assert (of_one - of_other).norm() <= 1e-9 * of_other.norm(), name


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("loss", LOSSES)
def test_weights_gradients_are_those_of_second_derivatives(loss: str, labels: str) -> None:
    check(loss, images(), LABELS[labels])


@pytest.mark.parametrize("changes", [{"base": (4, 8)}, {"channels": 1}, {"num_classes": 1}, {"blocks": [1, 0, 2]}],
                         ids=lambda changes: next(iter(changes)))
def test_shapes(changes: dict) -> None:
    network = discriminator(**changes)
    check("both", images(4, network.channels, *network.sides), None, **changes)


def test_frozen_weights_get_no_gradient_and_the_others_keep_theirs() -> None:
    whole, part = discriminator(), discriminator()
    frozen = [part.from_rgb.weight, part.stages[1][0].mix.weight, part.stages[1][0].mix.bias, part.basis]
    for parameter in frozen:
        parameter.requires_grad_(False)
    for network in (whole, part):
        LOSSES["both"](*once(network, images())).backward()
    for one, other in zip(part.parameters(), whole.parameters()):
        assert (one.grad is None) == any(one is parameter for parameter in frozen)
        assert one.grad is None or torch.equal(one.grad, other.grad)


def test_images_get_the_gradient_of_the_logits_alone() -> None:
    network, x = discriminator(), images().requires_grad_()
    ours, = torch.autograd.grad(LOSSES["both"](*once(network, x)), x)
    logits = network(x)
    theirs, = torch.autograd.grad(logits.diff().exp().mean(), x)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_a_second_derivative_is_refused_rather_than_wrong() -> None:
    network = discriminator()
    gradients = torch.autograd.grad(LOSSES["both"](*once(network, images())), list(network.parameters()),
                                    create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        sum(g.sum() for g in gradients).backward()


def test_in_bf16_it_is_as_close_to_the_exact_gradient_as_second_derivatives_are() -> None:
    x = images(16, 3, 16, 16)

    def gradients(way, dtype: torch.dtype) -> Tensor:
        network = discriminator().to(dtype)
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.float32):
            logits, gradient = way(network, x.to(dtype))
            loss = torch.nn.functional.softplus(logits[8:] - logits[:8]).mean() + squared_norm(gradient).mean() / 40
        loss.backward()
        return torch.cat([p.grad.flatten().double() for p in network.parameters()])

    exact = gradients(twice, torch.float64)
    ours, theirs = ((gradients(way, torch.float32) - exact).norm() / exact.norm()
                    for way in (once, twice))
    assert 0 < ours < 1.3 * theirs < 0.3        # kinks that rounding crosses


def test_four_passes_rather_than_six() -> None:
    def flops(work) -> int:
        with FlopCounter() as counter:
            work()
        return counter.flops

    network, x = Discriminator(resolution=32, width=32, cardinality=4), torch.randn(2, 3, 32, 32)
    one = flops(lambda: network(x))
    ours = flops(lambda: LOSSES["both"](*once(network, x)).backward())
    theirs = flops(lambda: LOSSES["both"](*twice(network, x)).backward())
    assert ours < 4.1 * one and theirs > 5.8 * one


def test_sans_last_layer_is_left_to_autograd() -> None:
    assert discriminator().differentiable and not sliced(discriminator()).differentiable


@pytest.mark.parametrize("differentiated", [True, False])
def test_nothing_stays_that_the_passes_left_for_each_other(differentiated: bool, monkeypatch) -> None:
    made, make = [], piecewise._Convolution
    monkeypatch.setattr(piecewise, "_Convolution", lambda *given: (step := make(*given), made.append(ref(step)))[0])
    gc.disable()
    try:
        loss = LOSSES["both"](*once(discriminator(), images()))
        assert made and all(step() for step in made)
        if differentiated:
            loss.backward()
        else:
            del loss
        assert not any(step() for step in made)
    finally:
        gc.enable()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("half", [None, torch.bfloat16, torch.float16])
def test_on_a_gpu(half: torch.dtype | None) -> None:
    network, x = discriminator().cuda(), images().cuda()
    gradients = []
    for way, dtype in ((twice, torch.float64), (once, torch.float32)):
        network.to(dtype).zero_grad()
        with torch.autocast("cuda", half, enabled=half is not None and dtype == torch.float32):
            loss = LOSSES["both"](*way(network, x.to(dtype)))
        loss.backward()
        gradients.append(torch.cat([p.grad.flatten().double() for p in network.parameters()]))
    assert (gradients[1] - gradients[0]).norm() < (1e-4 if half is None else 0.3) * gradients[0].norm()
