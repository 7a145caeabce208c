"""The MLP pair, for points and small images."""

import pytest
import torch
from torch import nn

from scalegan.models.mlp import Discriminator, Generator
from scalegan.randomness import parameter_generators


def test_lectures_sizes() -> None:
    """One hidden layer of 100 on 2-D data from 2-D latents: 2 * 100 + 100 + 100 * 2 + 2 parameters."""
    generator, critic = Generator(), Discriminator()
    assert sum(p.numel() for p in generator.parameters()) == 502
    assert sum(p.numel() for p in critic.parameters()) == 401
    assert generator(torch.randn(5, 2)).shape == (5, 2)
    assert critic(torch.randn(5, 2)).shape == (5,)


def test_points_are_unbounded_and_images_are_not() -> None:
    z = 1000 * torch.randn(20, 4)
    assert Generator((2,), latent_dim=4)(z).abs().max() > 2
    images = Generator((3, 8, 8), latent_dim=4, layers=2)(z)
    assert images.shape == (20, 3, 8, 8)
    assert images.abs().max() <= 1
    assert Discriminator((3, 8, 8))(images).shape == (20,)


@pytest.mark.parametrize("layers", [1, 3])
def test_depth(layers: int) -> None:
    hidden = [m for m in Generator(hidden=7, layers=layers).modules() if isinstance(m, nn.ReLU)]
    assert len(hidden) == layers


def test_initial_weights_keep_the_scale() -> None:
    """He et al. (2015): N(0, 2 / fan_in), zero biases."""
    network = Discriminator((500,), hidden=400, layers=2)
    network.initialise(parameter_generators(0, "D"))
    for linear in (m for m in network.modules() if isinstance(m, nn.Linear)):
        assert not linear.bias.any()
        if linear.out_features > 1:
            assert linear.weight.std().item() == pytest.approx((2 / linear.in_features) ** 0.5, rel=0.02)


def test_labels_matter_and_are_needed() -> None:
    for network, inputs in ((Generator(num_classes=3), torch.randn(3, 2)),
                            (Discriminator(num_classes=3), torch.randn(3, 2))):
        one, other = network(inputs, torch.tensor([0, 1, 2])), network(inputs, torch.tensor([0, 1, 1]))
        assert one[:2].equal(other[:2]) and not one[2].equal(other[2])
        with pytest.raises(ValueError, match="needs labels"):
            network(inputs)


def test_psi_is_refused() -> None:
    with pytest.raises(ValueError, match="truncation"):
        Generator()(torch.randn(2, 2), psi=0.5)
