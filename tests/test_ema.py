"""Moving averages with a half-life in images."""

import pytest
import torch
from torch import nn

from scalegan.ema import Ema
from scalegan.models.dcgan import Generator


def network(value: float) -> nn.Linear:
    layer = nn.Linear(2, 2)
    nn.init.constant_(layer.weight, value)
    nn.init.constant_(layer.bias, value)
    return layer


def test_half_life_is_in_images_whatever_the_batch() -> None:
    for batch in (10, 100, 500):
        net = network(0.0)
        ema = Ema(net, half_life_images=1000)
        nn.init.constant_(net.weight, 1.0)
        for images in range(batch, 1001, batch):
            ema.update(batch, images)
        assert ema.average.weight.mean().item() == pytest.approx(0.5, abs=1e-4)


def test_ramp_up_shortens_the_beginning() -> None:
    """The half-life is at most 5 % of the images seen: 64 images of 640 seen leave 2^-2."""
    ema = Ema(network(0.0), half_life_images=10_000, ramp_up=0.05)
    assert ema.decay(64, 640) == pytest.approx(0.25)
    assert ema.decay(64, 200_000) == ema.decay(64, 10**9) == pytest.approx(0.5 ** (64 / 10_000))


def test_no_half_life_copies() -> None:
    net = network(0.0)
    ema = Ema(net, 0)
    nn.init.normal_(net.weight)
    ema.update(64, 64)
    assert ema.average.weight.equal(net.weight)


def test_buffers_are_copied_not_averaged() -> None:
    net = Generator(16, 3, 4, 8)
    ema = Ema(net, 10_000)
    for buffer in net.buffers():
        buffer.fill_(7)
    ema.update(64, 64)
    assert all((buffer == 7).all() for buffer in ema.average.buffers())
    assert len(list(ema.average.buffers())) == 4


def test_average_is_fp32_frozen_and_in_eval_mode() -> None:
    net = network(1.0).bfloat16().train()
    ema = Ema(net, 1_000_000)
    for step in range(1000):  # in bf16, steps this small would all be lost
        nn.init.constant_(net.weight, 2.0)
        ema.update(64, 64 * (step + 1))
    assert ema.average.weight.dtype == torch.float32
    assert ema.average.weight.mean().item() == pytest.approx(2 - 0.5**0.064, rel=1e-4)
    assert not ema.average.training and not ema.average.weight.requires_grad
    assert net.weight.requires_grad and net.training
