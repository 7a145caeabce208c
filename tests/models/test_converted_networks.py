"""Networks that `scalegan convert` makes, for images of larger size: the published sizes, and how far they see."""

import pytest
import torch
from torch import Tensor, nn

from scalegan.models import rrdb, srvgg

pytestmark = pytest.mark.slow
# Parameters of BasicSR's RRDBNet and SRVGGNetCompact.
COUNTS = [(rrdb.Generator, {}, 16_697_987), (rrdb.Generator, {"scale": 2, "unshuffle": 2}, 16_703_171),
          (rrdb.Generator, {"blocks": 6}, 4_467_779), (srvgg.Generator, {"layers": 32}, 1_213_296),
          (srvgg.Generator, {}, 621_424)]
SMALL = {
    "RRDB": lambda: rrdb.Generator(scale=4, width=3, blocks=1, growth=2),
    "RRDB of scale 1": lambda: rrdb.Generator(scale=1, width=3, blocks=1, growth=2),
    "RRDB of scale 8": lambda: rrdb.Generator(scale=8, width=3, blocks=1, growth=2),
    "RRDB of squares of two pixels": lambda: rrdb.Generator(scale=2, unshuffle=2, width=3, blocks=1, growth=2),
    "RRDB of squares of four pixels": lambda: rrdb.Generator(scale=1, unshuffle=4, width=3, blocks=1, growth=2),
    "SRVGG": lambda: srvgg.Generator(scale=4, width=3, layers=2),
}


@pytest.mark.parametrize("kind, keys, count", COUNTS)
def test_golden_parameter_counts(kind: type[nn.Module], keys: dict, count: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in kind(**keys).parameters()) == count


def distances(network: nn.Module, at: int, size: int) -> Tensor:
    """How far from pixel (at, at) those lie on which its part of the answer depends, in rows and in columns."""
    image = torch.rand(1, 3, size, size, dtype=torch.float64, requires_grad=True)
    scale = network.scale
    part = network(image)[:, :, at * scale : (at + 1) * scale, at * scale : (at + 1) * scale]
    seen = torch.autograd.grad(part.sum(), image)[0][0].abs().sum(0).nonzero()
    return (seen - at).abs()


@pytest.mark.parametrize("name", SMALL)
def test_a_network_sees_as_far_as_its_reach_and_no_farther(name: str) -> None:
    network = SMALL[name]().double()
    for parameter in network.parameters():      # so that no gradient vanishes
        parameter.data = parameter.data.abs() / parameter[0].numel()
    middle = (network.reach + network.multiple) // network.multiple * network.multiple
    found = [distances(network, middle + offset, 2 * (middle + network.multiple)).amax(0)
             for offset in range(network.multiple)]
    assert torch.stack(found).amax(0).tolist() == [network.reach] * 2


@pytest.mark.parametrize("name", SMALL)
def test_images_of_any_size_have_answers_of_scale_times_that_size(name: str) -> None:
    network = SMALL[name]()
    for height, width in ((1, 1), (5, 3), (8, 12)):
        assert network(torch.rand(2, 3, height, width)).shape == (2, 3, network.scale * height, network.scale * width)
