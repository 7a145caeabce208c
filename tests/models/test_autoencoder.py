"""The auto-encoder that energy-based GANs use as D."""

import pytest
import torch
from torch import Tensor, nn

from scalegan.models.autoencoder import AutoEncoder, convolutional, dense


class Half(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x / 2


def test_the_energy_is_the_mean_squared_error_and_the_logit_minus_it() -> None:
    """Dec(Enc(x)) = x / 2: the energy is mean x^2 / 4, and the logit's slope -x / (2 n)."""
    discriminator = AutoEncoder(Half(), nn.Identity(), gain=None)
    x = torch.tensor([[2.0, -4.0, 0.0, 1.0], [0.0, 0.0, 0.0, 8.0]], requires_grad=True)
    logits = discriminator(x)
    assert logits.tolist() == pytest.approx([-(4 + 16 + 1) / 16, -64 / 16])
    slopes, = torch.autograd.grad(logits.sum(), x)
    assert torch.allclose(slopes, -x / 8)


def test_the_convolutional_one_is_the_papers() -> None:
    """(64)4c2s-(128)4c2s-(256)4c2s and back, for 64 px."""
    discriminator = convolutional(64, 3, 64, 16)
    there = [m for m in discriminator.encoder.modules() if isinstance(m, nn.Conv2d)]
    back = [m for m in discriminator.decoder.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert [(m.in_channels, m.out_channels) for m in there] == [(3, 64), (64, 128), (128, 256)]
    assert [(m.in_channels, m.out_channels) for m in back] == [(256, 128), (128, 64), (64, 3)]
    assert all((m.kernel_size, m.stride) == ((4, 4), (2, 2)) for m in (*there, *back))
    x = torch.rand(16, 3, 64, 64) * 2 - 1
    assert discriminator.encode(x).shape == (16, 256, 8, 8) and discriminator(x).shape == (16,)
    assert discriminator.decoder(discriminator.encode(x)).shape == x.shape


def test_the_dense_one_codes_points_and_images() -> None:
    for shape in ((2,), (3, 8, 8)):
        discriminator, x = dense(shape, 16, 2, 4), torch.rand(5, *shape)
        assert discriminator.encode(x).shape == (5, 4) and discriminator(x).shape == (5,)
        assert (discriminator(x) < 0).all()


def test_it_learns_to_give_what_it_is_trained_on_a_low_energy() -> None:
    """After some steps on reals alone, other images have a higher energy."""
    torch.manual_seed(0)
    discriminator = dense((6,), 16, 1, 2)
    reals, others = torch.randn(64, 2) @ torch.randn(2, 6), torch.randn(64, 6) * 2
    optimizer = torch.optim.Adam(discriminator.parameters(), lr=1e-2)
    for _ in range(200):
        optimizer.zero_grad()
        (-discriminator(reals)).mean().backward()
        optimizer.step()
    assert -discriminator(reals).mean() < 0.2 * -discriminator(others).mean()


def test_sides_that_cannot_be_halved_three_times_are_refused() -> None:
    with pytest.raises(ValueError, match="not a multiple of 8"):
        convolutional(20, 3, 8, 4)
