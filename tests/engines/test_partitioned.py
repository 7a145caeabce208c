"""Parts of tensors: who holds what, with and without remainders."""

import itertools

import pytest
import torch
from torch import nn

from scalegan.engines.partitioned import Partitioned, elements, rows
from scalegan.engines.parts import Parts
from scalegan.engines.ranks import Ranks


@pytest.mark.parametrize("layout", [rows, elements])
@pytest.mark.parametrize("shape", [(7, 3), (1, 5), (2, 2, 3), (8,), (1,)])
@pytest.mark.parametrize("world", [1, 2, 3, 4, 16])
def test_runs_cover_a_tensor_in_order(layout, shape: tuple[int, ...], world: int) -> None:
    runs = layout(torch.Size(shape), world)
    assert len(runs) == world and runs[0][0] == 0 and runs[-1][1] == torch.Size(shape).numel()
    assert all(a[1] == b[0] for a, b in itertools.pairwise(runs)) and all(first <= last for first, last in runs)
    assert runs[0][1] == max(last - first for first, last in runs)


@pytest.mark.parametrize("shape, world", [((7, 3), 2), ((5,), 4), ((3, 2, 2), 2)])
def test_rows_are_those_of_dtensor(shape: tuple[int, ...], world: int) -> None:
    from torch.distributed.tensor import Shard

    pieces, _ = Shard(0)._split_tensor(torch.zeros(shape), world, with_padding=False, contiguous=True)
    assert [piece.numel() for piece in pieces] == [last - first for first, last in rows(torch.Size(shape), world)]


def test_outside_of_whole_nothing_can_be_computed_unnoticed() -> None:
    network = nn.Linear(3, 4)
    expected = network(torch.ones(2, 3)).detach()
    parts = Parts(network, Ranks(0, 1, torch.device("cpu")))
    assert network(torch.ones(2, 3)).isnan().all()
    assert sum(p.untyped_storage().nbytes() for p in network.parameters()) == 8
    with parts.whole():
        assert torch.equal(network(torch.ones(2, 3)), expected)
        with torch.no_grad():
            network.weight.zero_()      # is lost
    with parts.whole(keep=True), torch.no_grad():
        assert torch.equal(network(torch.ones(2, 3)), expected)
        network.weight.zero_()
    with parts.whole():
        assert torch.equal(network(torch.ones(2, 3)), network.bias.expand(2, 4))


def test_what_is_by_rows() -> None:
    shape, part = torch.Size((4, 3)), torch.zeros(6)
    assert Partitioned(shape, part, rows(shape, 2), 0).by_rows
    assert not Partitioned(shape, part, ((0, 5), (5, 12)), 0).by_rows
    assert not Partitioned(torch.Size(()), part, ((0, 1), (1, 1)), 0).by_rows
