"""Checks that replicated tensors are bitwise equal on all ranks."""

from collections.abc import Mapping

import torch
import torch.distributed as dist
from isal.isal_zlib import crc32
from torch import Tensor

from scalegan.errors import UserError


def check_replicas(tensors: Mapping[str, Tensor], group: dist.ProcessGroup | None) -> None:
    """Compares every tensor (on the CPU, contiguous) across the ranks of a group; None if there is one rank.

    Raises:
        UserError: on all ranks, naming the first tensor that differs.
    """
    if group is None:
        return
    sums = {name: crc32(tensor.reshape(-1).view(torch.uint8).numpy()) for name, tensor in tensors.items()}
    if len(set(_gathered(crc32(repr(sums).encode()), group))) == 1:
        return
    everyone = _gathered(sums, group)
    for rank, theirs in enumerate(everyone):
        for name in sorted(everyone[0].keys() | theirs.keys()):
            if theirs.get(name) != everyone[0].get(name):
                raise UserError(f"replicas differ between ranks: {name} on rank {rank} is not what it is on rank 0")


def _gathered(value: object, group: dist.ProcessGroup) -> list:
    values = [None] * dist.get_world_size(group)
    dist.all_gather_object(values, value, group=group)
    return values
