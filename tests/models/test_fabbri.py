"""Fabbri's networks for colorization: the published sizes, the published code written out, and what a pixel sees."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from scalegan.config.models import Fabbri
from scalegan.models import fabbri, image_to_image
from scalegan.models.layers.dropout import KeyedDropout
from scalegan.randomness import parameter_generators

UPSAMPLING = ("resize", "transposed")


def small(upsampling: str = "resize", **keys: float) -> fabbri.Generator:
    """A generator of five levels in which no feature is negligible, and whose norms do something."""
    network = fabbri.Generator(levels=5, width=2, upsampling=upsampling, norm_group=2, **keys)
    network.initialise(parameter_generators(1, "G"))
    for number, parameter in enumerate(network.parameters()):
        if parameter.dim() > 1:
            parameter.data *= 10
        else:
            parameter.data += torch.sin(torch.arange(len(parameter)) + number) / 2
    return network


@pytest.mark.parametrize("upsampling, count", [("resize", 39_303_168), ("transposed", 54_673_152)])
def test_the_generator_has_the_published_number_of_parameters(upsampling: str, count: int) -> None:
    with torch.device("meta"):
        network = fabbri.Generator(upsampling=upsampling)
    assert sum(p.numel() for p in network.parameters()) == count


def test_the_discriminator_has_the_published_number_of_parameters_and_its_energy_four_halvings() -> None:
    with torch.device("meta"):
        patches, energy = image_to_image.discriminator(Fabbri(), 3), image_to_image.energy(Fabbri(), 2, 256)
    assert sum(p.numel() for p in patches.parameters()) == 2_765_568
    widths = [p.shape[:2] for p in energy.parameters() if p.dim() == 4]
    assert widths == [(64, 2), (128, 64), (256, 128), (512, 256), (512, 256), (256, 128), (128, 64), (64, 2)]


def published(network: fabbri.Generator, x: Tensor) -> Tensor:
    """The published network on a batch, with weights in their order and statistics of the batch in every norm."""
    weights = iter(network.parameters())

    def norm(x: Tensor) -> Tensor:
        x = (x - x.mean((0, 2, 3), keepdim=True)) / (x.var((0, 2, 3), keepdim=True, unbiased=False) + 1e-5).sqrt()
        return x * next(weights).view(1, -1, 1, 1) + next(weights).view(1, -1, 1, 1)

    def enlarged(x: Tensor) -> Tensor:
        weight = next(weights)
        if weight.shape[2] == 4:
            return F.conv_transpose2d(x, weight, stride=2, padding=1)
        return F.conv2d(x.repeat_interleave(2, 2).repeat_interleave(2, 3), weight, padding=1)

    encoded = [F.leaky_relu(F.conv2d(x, next(weights), stride=2, padding=1), 0.2)]
    for _ in range(4):
        encoded.append(F.leaky_relu(norm(F.conv2d(encoded[-1], next(weights), stride=2, padding=1)), 0.2))
    x = F.relu(norm(enlarged(encoded[4])))
    for skip in (encoded[3], encoded[2], encoded[1]):
        x = F.relu(norm(enlarged(torch.cat([x, skip], 1))))
    return torch.tanh(enlarged(x))


@pytest.mark.parametrize("upsampling", UPSAMPLING)
def test_it_is_the_published_code_but_for_its_missing_levels(upsampling: str) -> None:
    network = small(upsampling, dropout=0.0)
    x = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    answer = network(x)
    assert answer.std() > 0.05
    torch.testing.assert_close(answer, published(network, x), atol=1e-4, rtol=1e-4)


def test_dropout_is_in_the_innermost_layer_of_the_decoder_only() -> None:
    network = small()
    assert [any(isinstance(layer, KeyedDropout) for layer in stage) for stage in network.up] == [True] + [False] * 3


@pytest.mark.parametrize("height, width", [(32, 32), (64, 96), (45, 33)])
def test_an_image_of_any_size_has_its_answer_whatever_else_is_in_the_batch(height: int, width: int) -> None:
    network, images = small().eval(), torch.randn(3, 1, height, width, generator=torch.Generator().manual_seed(0))
    answer = network(images)
    assert answer.shape == (3, 2, height, width)
    torch.testing.assert_close(network(images[1:2]), answer[1:2], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("upsampling", UPSAMPLING)
def test_a_pixel_sees_its_reach_and_nothing_else(upsampling: str) -> None:
    network = small(upsampling).eval()
    for parameter in network.parameters():      # so that no gradient vanishes
        parameter.data = parameter.data.abs() + 0.01
    network.last[-1] = torch.nn.Identity()
    image, middle = torch.zeros(1, 1, network.multiple, 8 * network.multiple, requires_grad=True), 4 * network.multiple
    answer, far = network(image)[0, 0, 0], 0
    for pixel in itertools.chain(range(middle, middle + 4), range(middle + 28, middle + 32)):
        gradient, = torch.autograd.grad(answer[pixel], image, retain_graph=True)
        seen = gradient[0, 0].any(0).nonzero()
        far = max(far, pixel - seen.min().item(), seen.max().item() - pixel)
    assert (network.scale, network.multiple, network.reach) == (1, 32, far)
