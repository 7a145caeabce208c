"""Divides the writing of a checkpoint among ranks, in equal parts of the bytes whatever the tensors' sizes."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.default_planner import create_default_global_save_plan
from torch.distributed.checkpoint.metadata import ChunkStorageMetadata, Metadata, MetadataIndex, TensorProperties
from torch.distributed.checkpoint.planner import (
    SavePlan,
    SavePlanner,
    TensorWriteData,
    WriteItem,
    WriteItemType,
)

from scalegan.engines.partitioned import Partitioned

_HEADER = 120  # approximate bytes per tensor besides its data and twice its name


def slices_by_rank(tensors: Mapping[str, Tensor], world: int) -> list[dict[str, tuple[int, int]]]:
    """For each rank, the slice [first, last) of each tensor that the rank writes, along the tensor's longest axis.

    All slices of all tensors, concatenated by name, are cut into `world` parts of equal bytes, so that a rank has at
    most one contiguous slice of a tensor.
    """
    costs = {name: tensors[name].nbytes + _HEADER + 2 * len(name) for name in sorted(tensors)}
    total, done = sum(costs.values()), 0
    parts: list[dict[str, tuple[int, int]]] = [{} for _ in range(world)]
    for name, cost in costs.items():
        count = tensors[name].shape[_axis(tensors[name])] if tensors[name].dim() else 1
        count = count if tensors[name].numel() else 1  # an empty tensor counts as one slice
        first = 0
        for rank, part in enumerate(parts):
            # Slices whose middle lies before the rank's end.
            last = ((total * (rank + 1) - world * done) * 2 * count + world * cost) // (2 * world * cost)
            last = count if rank == world - 1 else min(max(last, first), count)
            if last > first:
                part[name] = (first, last)
            first = last
        done += cost
    return parts


class SlicePlanner(SavePlanner):
    """Makes torch.distributed.checkpoint write this rank's slices.

    Args:
        mine: one entry of `slices_by_rank`, of tensors that all ranks have.
        held: tensors of which this rank has some rows alone, and writes them.
    """

    def __init__(self, mine: Mapping[str, tuple[int, int]], held: Mapping[str, Partitioned]) -> None:
        self.mine = mine
        self.held = {name: tensor for name, tensor in held.items() if len(tensor.part)}

    def set_up_planner(self, state_dict: Mapping[str, Tensor], storage_meta: Any = None,
                       is_coordinator: bool = False) -> None:
        self.tensors = state_dict

    def create_local_plan(self) -> SavePlan:
        return SavePlan([*(self._item(name, self._slice(name), _axis(self.tensors[name]), self.mine[name][0],
                                      self.tensors[name].shape) for name in self.mine),
                         *(self._item(name, self._rows(name), 0, self._first_row(tensor), tensor.shape)
                           for name, tensor in self.held.items())])

    def create_global_plan(self, all_plans: list[SavePlan]) -> tuple[list[SavePlan], Metadata]:
        return create_default_global_save_plan(all_plans)

    def finish_plan(self, new_plan: SavePlan) -> SavePlan:
        return new_plan

    def resolve_data(self, write_item: WriteItem) -> Tensor:
        name = write_item.index.fqn
        return self._rows(name) if name in self.held else self._slice(name)

    def _rows(self, name: str) -> Tensor:
        tensor = self.held[name]
        return tensor.part.view(-1, *tensor.shape[1:])

    def _slice(self, name: str) -> Tensor:
        tensor, (first, last) = self.tensors[name], self.mine[name]
        if tensor.dim() == 0 or tensor.numel() == 0:
            return tensor
        return tensor.narrow(_axis(tensor), first, last - first).contiguous()

    @staticmethod
    def _first_row(tensor: Partitioned) -> int:
        return tensor.runs[tensor.rank][0] * tensor.shape[0] // tensor.shape.numel()

    @staticmethod
    def _item(name: str, part: Tensor, along: int, first: int, shape: torch.Size) -> WriteItem:
        offsets = torch.Size(first if axis == along else 0 for axis in range(len(shape)))
        data = TensorWriteData(ChunkStorageMetadata(offsets, part.shape), TensorProperties.create_from_tensor(part),
                               shape)
        return WriteItem(MetadataIndex(name, offsets), WriteItemType.SHARD, tensor_data=data)


def _axis(tensor: Tensor) -> int:
    return max(range(tensor.dim()), key=lambda axis: tensor.shape[axis], default=0)
