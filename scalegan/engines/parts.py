"""Networks of which every rank keeps a part of each weight, and has all of it only where the network is used."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from scalegan.engines import partitioned
from scalegan.engines.partitioned import Partitioned, rows
from scalegan.engines.ranks import Ranks

Layout = Callable[[torch.Size, int], tuple[tuple[int, int], ...]]

_BUCKET = 2**24     # elements that are exchanged at once
# Its name from torch 2.14 on, and before.
_reduce_scatter = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor


class Parts:
    """Partitions a network's weights in place; other ranks' parts are gathered for `whole` alone.

    Otherwise a weight has its shape and no memory, and all its elements are NaN, so that nothing can be computed from
    it unnoticed. Weights without axes stay whole on every rank.

    Args:
        network: with equal weights on all ranks, on any device.
        layout: each rank's run of elements, from a weight's shape and the number of ranks.

    Attributes:
        held: this rank's part of each weight, by name; the parts are what optimizers move.
        replicated: the weights without axes, by name.
    """

    def __init__(self, network: nn.Module, ranks: Ranks, layout: Layout = rows) -> None:
        self.network, self.ranks = network, ranks
        self.held: dict[str, Partitioned] = {}
        self.replicated = {name: p for name, p in network.named_parameters() if p.dim() == 0}
        for name, weight in self._weights():
            runs = layout(weight.shape, ranks.world_size)
            first, last = runs[ranks.rank]
            part = weight.detach().reshape(-1)[first:last].to(ranks.device, copy=True)
            self.held[name] = Partitioned(weight.shape, part, runs, ranks.rank)
            weight.data = _hollow(weight, ranks.device)
        move_the_rest(network, ranks.device)

    @contextlib.contextmanager
    def whole(self, keep: bool = False) -> Iterator[None]:
        """Within the block, the network has all its weights. What is written to them is lost, unless `keep`: then it
        must be the same on all ranks. On all ranks at once."""
        weights = dict(self._weights())
        for bucket in _buckets(self.held):
            for name, tensor in partitioned.gather(bucket).items():
                weights[name].data = tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 \
                    else tensor
        try:
            yield
        finally:
            for name, weight in weights.items():
                if keep:
                    self.held[name].fill(weight.detach())
                weight.data = _hollow(weight, self.ranks.device)

    def reduce_gradients(self) -> None:
        """Sums the weights' gradients over ranks into their parts' `grad`, and clears them; one without a gradient
        counts as zero. Those of replicated weights are left to the caller. On all ranks at once."""
        weights = {name: weight for name, weight in self._weights() if weight.requires_grad}
        for bucket in _buckets({name: self.held[name] for name in weights}):
            self._reduce({name: weights[name] for name in bucket})

    def _reduce(self, weights: Mapping[str, Tensor]) -> None:
        world, stacked = self.ranks.world_size, []
        for name, weight in weights.items():
            each = self.held[name].runs[0][1]       # the first rank's part is the longest
            gradient = weight.new_zeros(weight.numel()) if weight.grad is None else weight.grad.reshape(-1)
            stacked.append(F.pad(gradient, (0, world * each - len(gradient))).view(world, each))
            weight.grad = None
        mine = _sum_of_rows(torch.cat(stacked, 1), world)
        for name, piece in zip(weights, mine.split([each.shape[1] for each in stacked])):
            part = self.held[name].part
            part.grad = piece[: len(part)].clone() if len(weights) > 1 else piece[: len(part)]

    def _weights(self) -> Iterable[tuple[str, nn.Parameter]]:
        return ((name, p) for name, p in self.network.named_parameters() if p.dim())


def move_the_rest(network: nn.Module, device: torch.device) -> None:
    """Moves buffers and weights without axes to a device."""
    for module in network.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if buffer.device != device:
                setattr(module, name, buffer.to(device))
        for parameter in module.parameters(recurse=False):
            if parameter.dim() == 0:
                parameter.data = parameter.data.to(device)


def _hollow(weight: Tensor, device: torch.device) -> Tensor:
    return torch.full((1,), float("nan"), dtype=weight.dtype, device=device).expand(weight.shape)


def _sum_of_rows(stacked: Tensor, world: int) -> Tensor:
    """Of [world, n], this rank's row, summed over ranks."""
    if world == 1:
        return stacked[0]
    mine = stacked.new_empty(stacked.shape[1])
    _reduce_scatter(mine, stacked.reshape(-1))
    return mine


def _buckets(held: Mapping[str, Partitioned]) -> Iterator[dict[str, Partitioned]]:
    """Weights of one type, as many at a time as are exchanged at once."""
    bucket: dict[str, Partitioned] = {}
    size = 0
    for name, tensor in held.items():
        count = tensor.shape.numel()
        if bucket and (size + count > _BUCKET or tensor.dtype != next(iter(bucket.values())).dtype):
            yield bucket
            bucket, size = {}, 0
        bucket[name] = tensor
        size += count
    if bucket:
        yield bucket
