"""Tensors partitioned over ranks: weights and optimizers' state, as FSDP and ZeRO keep them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Partitioned:
    """A tensor of which each rank holds a contiguous run of elements, in row-major order.

    Args:
        shape: of the whole tensor.
        part: this rank's elements [n], not copied; n may be 0.
        runs: for each rank, its first element and the one after its last.
        rank: this process's.
    """

    shape: torch.Size
    part: Tensor
    runs: tuple[tuple[int, int], ...]
    rank: int

    @property
    def dtype(self) -> torch.dtype:
        return self.part.dtype

    @property
    def by_rows(self) -> bool:
        """Whether every rank holds as many whole rows, but for the last ones: the layout of `rows`."""
        return bool(self.shape) and self.runs == rows(self.shape, len(self.runs))

    def to_host(self) -> "Partitioned":
        """A copy in host memory."""
        return replace(self, part=to_host(self.part))

    def fill(self, whole: Tensor) -> None:
        """Copies this rank's elements from the whole tensor."""
        first, last = self.runs[self.rank]
        self.part.copy_(whole.reshape(-1)[first:last])


def rows(shape: torch.Size, world: int) -> tuple[tuple[int, int], ...]:
    """Each rank's run of a tensor that is cut along its first axis into parts of equal length, but for the last ones:
    as DTensor's `Shard(0)`."""
    size = shape.numel() // max(1, shape[0])
    each = -(-shape[0] // world)
    return tuple((size * min(rank * each, shape[0]), size * min((rank + 1) * each, shape[0])) for rank in range(world))


def elements(shape: torch.Size, world: int) -> tuple[tuple[int, int], ...]:
    """Each rank's run of a tensor that is cut into runs of equally many elements, but for the last ones."""
    count = shape.numel()
    each = -(-count // world)
    return tuple((min(rank * each, count), min((rank + 1) * each, count)) for rank in range(world))


def to_host(tensor: Tensor) -> Tensor:
    """A contiguous copy in host memory; from a GPU, it is complete once the device has been synchronised."""
    cuda = tensor.device.type == "cuda"
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=cuda).copy_(tensor.detach(), non_blocking=cuda)


def split(flat_part: Tensor, shapes: Mapping[str, torch.Size], rank: int, world: int) -> dict[str, Partitioned]:
    """Splits a vector of concatenated tensors, of which each rank holds an equal part, this rank `flat_part` [n]."""
    size, found, first = len(flat_part), {}, 0
    for name, shape in shapes.items():
        last = first + shape.numel()
        held = [(max(first, r * size), max(first, r * size, min(last, (r + 1) * size))) for r in range(world)]
        mine = flat_part[held[rank][0] - rank * size : held[rank][1] - rank * size] if held[rank][1] > held[rank][0] \
            else flat_part[:0]
        found[name] = Partitioned(shape, mine, tuple((a - first, b - first) for a, b in held), rank)
        first = last
    return found


def gather(tensors: Mapping[str, Partitioned], group: dist.ProcessGroup | None = None) -> dict[str, Tensor]:
    """Every whole tensor, on every rank; one exchange per dtype."""
    wholes: dict[str, Tensor] = {}
    for dtype in sorted({tensor.dtype for tensor in tensors.values()}, key=str):
        wholes |= _gather_alike({name: t for name, t in tensors.items() if t.dtype == dtype}, group)
    return {name: wholes[name] for name in tensors}


def _gather_alike(tensors: Mapping[str, Partitioned], group: dist.ProcessGroup | None) -> dict[str, Tensor]:
    mine = torch.cat([tensor.part.detach() for tensor in tensors.values()])
    world = len(next(iter(tensors.values())).runs)
    parts = [mine] if world == 1 else _exchange(mine, [_held(tensors.values(), rank) for rank in range(world)], group)
    cursors, wholes = [0] * world, {}
    for name, tensor in tensors.items():
        whole = mine.new_empty(tensor.shape.numel())
        for rank, (first, last) in enumerate(tensor.runs):
            whole[first:last] = parts[rank][cursors[rank] : cursors[rank] + last - first]
            cursors[rank] += last - first
        wholes[name] = whole.view(tensor.shape)
    return wholes


def _held(tensors: Sequence[Partitioned], rank: int) -> int:
    return sum(last - first for first, last in (tensor.runs[rank] for tensor in tensors))


def _exchange(mine: Tensor, sizes: list[int], group: dist.ProcessGroup | None) -> list[Tensor]:
    """Every rank's vector, padded to one length, as gloo requires."""
    padded = mine.new_zeros(max(sizes))
    padded[: len(mine)] = mine
    parts = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(parts, padded, group=group)
    return parts
