"""Sums the vectors of all micro-batches: fast, or in an order that does not depend on the number of ranks.

A micro-batch's vector holds its gradients, then the observations of tracked modules, then the terms of the loss, so
that one exchange serves all three.
"""

from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor


def fast(vector: Tensor, world: int) -> Tensor:
    """The sum over ranks, in whatever order is fastest."""
    if world > 1:
        dist.all_reduce(vector)
    return vector


def local_tree(leaf: Callable[[int], Tensor], low: int, high: int) -> Tensor:
    """Computes leaves low ... high - 1 in order and sums them in a balanced binary tree; at most log2 of their number
    are in memory at once."""
    if high - low == 1:
        return leaf(low)
    middle = low + (high - low + 1) // 2
    left = local_tree(leaf, low, middle)
    return left.add_(local_tree(leaf, middle, high))


def tree_over_ranks(vector: Tensor, rank: int, world: int) -> Tensor:
    """Continues the tree over ranks, a power of two: log2(world) exchanges, each with the rank that differs in one bit.

    Both partners add left and right; adding two floats commutes exactly, so all ranks end with the same bits.
    """
    distance = 1
    while distance < world:
        partner = rank ^ distance
        theirs = torch.empty_like(vector)
        exchange = [dist.P2POp(dist.isend, vector, partner), dist.P2POp(dist.irecv, theirs, partner)]
        for work in dist.batch_isend_irecv(exchange):
            work.wait()
        vector = vector + theirs
        distance *= 2
    return vector
