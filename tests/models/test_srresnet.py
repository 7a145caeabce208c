"""SRResNet and SRGAN's discriminator: the published sizes, and what an output sees."""

import pytest
import torch

from scalegan.models import srresnet
from scalegan.randomness import parameter_generators


@pytest.mark.parametrize("network, count", [
    (lambda: srresnet.Generator(), 1_547_350), (lambda: srresnet.Discriminator(96), 23_563_649),
], ids=["SRResNet at four times the size", "discriminator at 96 px"])
def test_parameter_counts_are_those_of_the_network_without_biases_before_norms(network, count: int) -> None:
    """Counts of Lornatang/SRGAN-PyTorch."""
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in network().parameters()) == count


def small(scale: int, blocks: int = 1, norm_group: int = 16) -> srresnet.Generator:
    network = srresnet.Generator(1, scale, 4, blocks, norm_group)
    network.initialise(parameter_generators(0, "G"))
    return network


@pytest.mark.parametrize("scale", [2, 4])
def test_images_of_any_size_are_enlarged_by_the_scale(scale: int) -> None:
    network = small(scale).eval()
    for height, width in ((16, 16), (5, 23), (1, 1)):
        assert network(torch.randn(2, 1, height, width)).shape == (2, 1, scale * height, scale * width)


@pytest.mark.parametrize("scale, blocks", [(2, 1), (4, 2)])
def test_its_reach_is_as_far_as_a_pixel_has_influence_and_no_further(scale: int, blocks: int) -> None:
    network = small(scale, blocks).eval()
    middle = network.reach + 3
    images = torch.zeros(2, 1, 1 + 2 * middle, 1 + 2 * middle)
    images[1, :, middle, middle] = 100
    with torch.no_grad():
        differs = (network(images)[1, 0] != network(images)[0, 0]).nonzero()[:, 0]
    first, last = scale * (middle - network.reach), scale * (middle + network.reach + 1) - 1
    assert first <= differs.min() < first + scale and last - scale < differs.max() <= last


@pytest.mark.parametrize("side", [16, 24, 33])
def test_the_discriminator_takes_any_side(side: int) -> None:
    assert srresnet.Discriminator(side, 1, 2)(torch.randn(3, 1, side, side)).shape == (3,)


def test_keys_decide_every_initial_weight_and_prelus_begin_at_a_quarter() -> None:
    one, other = small(4), small(4)
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values()))
    assert {m.weight.item() for m in one.modules() if isinstance(m, torch.nn.PReLU)} == {0.25}


def test_samples_of_one_norm_group_do_not_change_those_of_another() -> None:
    network, images = small(2, norm_group=2).train(), torch.randn(4, 1, 8, 8)
    torch.testing.assert_close(network(images)[:2], network(images[:2]))
    assert not torch.allclose(network(images[1:3])[:1], network(images)[1:2], atol=1e-3)
