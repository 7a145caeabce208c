"""Norm groups larger than a micro-batch: neighbouring ranks share their sums."""

import torch
import torch.distributed as dist
from torch import Tensor

from scalegan.engines.ranks import Ranks, group_of
from scalegan.games.base import Game
from scalegan.models.layers.batchnorm import GroupedBatchNorm


class _SumOverRanks(torch.autograd.Function):
    """All-reduce that is its own backward, and so can be differentiated any number of times."""

    @staticmethod
    def forward(ctx: object, value: Tensor, group: dist.ProcessGroup) -> Tensor:
        ctx.group = group
        total = value.detach().clone()
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> tuple[Tensor, None]:
        return _SumOverRanks.apply(gradient, ctx.group), None


def span_norm_groups(game: Game, ranks: Ranks, micro_batch: int) -> None:
    """Lets neighbouring ranks share each norm group that is larger than a micro-batch."""
    norms = [m for m in game.modules() if isinstance(m, GroupedBatchNorm)]
    batch = micro_batch * ranks.world_size
    sizes = {batch if m.norm_group == "batch" else m.norm_group for m in norms}
    groups: dict[int, dist.ProcessGroup] = {}
    for size in sorted(s for s in sizes if s > micro_batch and ranks.world_size > 1):
        count = size // micro_batch
        for first in range(0, ranks.world_size, count):  # every rank must take part in creating every group
            members = list(range(first, first + count))
            group = group_of(members)
            if ranks.rank in members:
                groups[size] = group
    for norm in norms:
        size = batch if norm.norm_group == "batch" else norm.norm_group
        if size in groups:
            norm.spanned_ranks = size // micro_batch
            norm.spanning = lambda value, group=groups[size]: _SumOverRanks.apply(value, group)
